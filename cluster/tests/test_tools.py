import os
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pact_cluster import tools
from pact_cluster.errors import ClusterError, CommandFailedError
from pact_cluster.report import Reporter
from pact_cluster.tools import KUBERNETES, KUBERNETES_VERSION, TOOLS, bin_folder, ensure_tools, parse_version
from pact_cluster.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("Client Version: v1.36.4\nKustomize Version: v5.8.1", (1, 36, 4)),
        ("kind v0.33.0 go1.26.8 linux/amd64", (0, 33, 0)),
        ('version.BuildInfo{Version:"v4.2.4", GitCommit:""}', (4, 2, 4)),
        ("1.7.12\ninstalled by ...", (1, 7, 12)),
        ("v0.8.0", (0, 8, 0)),
        ("development", None),
    ],
)
def test_versions_are_read_from_what_programs_print(printed: str, version: tuple[int, ...] | None) -> None:
    assert parse_version(printed) == version


@pytest.mark.parametrize(
    ("name", "version", "suits"),
    [
        ("kubectl", (1, 36, 0), True),
        ("kubectl", (1, 37, 2), True),
        ("kubectl", (1, 35, 9), False),
        ("kubectl", (1, 38, 0), False),
        ("helm", (3, 21, 4), False),
        ("kind", (0, 33, 0), True),
        ("kind", (0, 34, 0), False),
        ("kubectl", None, False),
        ("kubelet", (1, 36, 4), False),
    ],
)
def test_the_machines_own_program_is_taken_only_where_its_version_fits(
    name: str, version: tuple[int, ...] | None, suits: bool
) -> None:
    assert TOOLS[name].suits(version) is suits


def test_every_tool_is_a_tool_line_of_its_go_mod() -> None:
    for tool in TOOLS.values():
        go_mod = (REPOSITORY / "cluster/tools" / tool.module.folder / "go.mod").read_text()
        assert re.search(rf"^(tool )?\s*{re.escape(tool.package)}$", go_mod, re.MULTILINE), tool.name


def test_one_kubernetes_version_everywhere() -> None:
    go_mod = (REPOSITORY / "cluster/tools/kubernetes/go.mod").read_text()
    kind = (REPOSITORY / "cluster/kind-local.yaml").read_text()

    assert f"k8s.io/kubernetes {KUBERNETES_VERSION}" in go_mod
    assert set(re.findall(r"imageTag: (\S+?)[,}]", kind)) == {KUBERNETES_VERSION}
    for variable, module in (("helm.sh/helm/v4", "version.version"), ("sigs.k8s.io/cri-tools", "pkg/version.Version")):
        pinned = re.search(rf"{re.escape(variable)} (v\S+)", go_mod)
        assert pinned is not None
        assert f"{module}={pinned[1]}" in KUBERNETES.ldflags


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A repository with two tools of one go.mod, and a cache of its own."""
    source = tmp_path / "repository/cluster/tools/kubernetes"
    source.mkdir(parents=True)
    (source / "go.mod").write_text("module example.test/tools\n\ngo 1.26.2\n")
    return Workspace(tmp_path / "repository", tmp_path / "cache", tmp_path / "state")


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Go of our own: writes down each build, makes the programs asked for, fails if told to."""
    folder = tmp_path / "path"
    folder.mkdir()
    script = folder / "go"
    script.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = env ]; then echo go1.26.8; exit; fi\n'
        f'echo "$@" >> {tmp_path}/builds\n'
        f"[ ! -e {tmp_path}/broken ] || {{ echo 'x.go:1: broken'; exit 1; }}\n"
        'while [ $# -gt 0 ]; do case "$1" in\n'
        "-o) out=$2; shift ;;\n"
        '*/cmd/*) echo "#!/bin/sh" > "$out$(basename "$1")" ;;\n'
        "esac; shift; done\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(tools, "find_on_machine", lambda _tool: None)
    tools.go_version.cache_clear()
    yield tmp_path
    tools.go_version.cache_clear()


def builds(folder: Path) -> list[str]:
    return (folder / "builds").read_text().splitlines() if (folder / "builds").exists() else []


def test_only_what_is_missing_is_built_and_only_once(workspace: Workspace, go: Path) -> None:
    quiet = Reporter(quiet=True)

    first = ensure_tools(workspace, ["kubectl"], quiet)
    second = ensure_tools(workspace, ["kubectl", "helm"], quiet)
    ensure_tools(workspace, ["kubectl", "helm"], quiet)

    assert first["kubectl"] == second["kubectl"] == bin_folder(workspace, KUBERNETES) / "kubectl"
    assert [line.split()[-1] for line in builds(go)] == ["k8s.io/kubernetes/cmd/kubectl", "helm.sh/helm/v4/cmd/helm"]


def test_a_failed_build_leaves_no_program_and_is_tried_again(workspace: Workspace, go: Path) -> None:
    (go / "broken").touch()
    with pytest.raises(CommandFailedError, match=r"x\.go:1: broken"):
        ensure_tools(workspace, ["kubectl"], Reporter(quiet=True))
    assert list(bin_folder(workspace, KUBERNETES).iterdir()) == []

    (go / "broken").unlink()
    assert ensure_tools(workspace, ["kubectl"], Reporter(quiet=True))["kubectl"].exists()


def test_an_interrupted_build_is_swept_away_by_the_next(workspace: Workspace, go: Path) -> None:
    left = bin_folder(workspace, KUBERNETES).parent / "new-abc"
    left.mkdir(parents=True)
    (left / "kubectl").write_text("half")

    ensure_tools(workspace, ["kubectl"], Reporter(quiet=True))

    assert not left.exists()


def test_two_runs_at_once_build_once(workspace: Workspace, go: Path) -> None:
    runs = [threading.Thread(target=ensure_tools, args=(workspace, ["kubectl"], Reporter(quiet=True))) for _ in "ab"]
    for run in runs:
        run.start()
    for run in runs:
        run.join()

    assert len(builds(go)) == 1


def test_another_go_mod_gets_another_folder(workspace: Workspace, go: Path) -> None:
    before = bin_folder(workspace, KUBERNETES)
    with (workspace.sources / "tools/kubernetes/go.mod").open("a") as file:
        file.write("// changed\n")

    assert bin_folder(workspace, KUBERNETES) != before


def test_an_old_go_is_named_before_anything_is_built(
    workspace: Workspace, go: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace.sources / "tools/kubernetes/go.mod").write_text("module example.test/tools\n\ngo 1.99.0\n")

    with pytest.raises(ClusterError, match=r"Go 1\.99\.0 or newer .* only 1\.26\.8"):
        ensure_tools(workspace, ["kubectl"], Reporter(quiet=True))
    assert builds(go) == []


def test_an_unknown_tool_is_refused_by_name(workspace: Workspace) -> None:
    with pytest.raises(ClusterError, match="No such tool: kubctl"):
        ensure_tools(workspace, ["kubctl"], Reporter(quiet=True))
