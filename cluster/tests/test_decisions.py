import fcntl
import io
import subprocess
from pathlib import Path

import pytest

from pact_cluster.baseimages import apt_sources, npmrc, pip_conf, pip_settings, read_recipe
from pact_cluster.cli import main
from pact_cluster.engine import daemon_command, lacks_resource_capability
from pact_cluster.errors import ClusterError, CommandFailedError
from pact_cluster.nodeimage import libraries
from pact_cluster.registry import note, remembered
from pact_cluster.report import Reporter
from pact_cluster.shell import run, stream
from pact_cluster.workspace import ClusterChoice, NodeImageChoice, Settings, Workspace, fingerprint

REPOSITORY = Path(__file__).resolve().parents[2]


def test_settings_from_the_environment() -> None:
    assert Settings.from_environment({}) == Settings(ClusterChoice.AUTO, "", NodeImageChoice.AUTO)
    assert Settings.from_environment({"CLUSTER": "context:a:b", "NODE_IMAGE": "local"}) == Settings(
        ClusterChoice.CONTEXT, "a:b", NodeImageChoice.LOCAL
    )


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"CLUSTER": "minikube"}, "CLUSTER=minikube is not known"),
        ({"CLUSTER": "context:"}, "needs a name"),
        ({"CLUSTER": "kind:x"}, "CLUSTER=kind:x is not known"),
        ({"NODE_IMAGE": "mine"}, "NODE_IMAGE=mine is not known"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    environment: dict[str, str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ClusterError, match=sentence):
        Settings.from_environment(environment)

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["status"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_fingerprints_tell_parts_apart() -> None:
    assert fingerprint(["ab", "c"]) != fingerprint(["a", "bc"])
    assert fingerprint(["a", "b"]) == fingerprint([b"a", b"b"])


def test_a_lock_is_held_against_others(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, tmp_path / "cache", tmp_path / "state")
    with (
        workspace.locked("x"),
        (tmp_path / "cache/locks/x").open("w") as other,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_registrys_answer_is_remembered_for_some_hours() -> None:
    text = note("image:1", answers=False, now=1000.0)

    assert remembered(text, "image:1", 1000.0 + 3600) is False
    assert remembered(note("image:1", answers=True, now=1000.0), "image:1", 1001.0) is True
    assert remembered(text, "image:1", 1000.0 + 7 * 3600) is None
    assert remembered(text, "image:2", 1001.0) is None
    assert remembered(text, "image:1", 10.0) is None
    assert remembered("half", "image:1", 1001.0) is None


def test_pip_settings_that_a_build_needs() -> None:
    listed = "\n".join(
        [
            "global.index-url='https://a.example.test/simple'",
            "user.index-url='https://b.example.test/simple'",
            "global.cert='/etc/ca.pem'",
            ":env:.find-links='/opt/wheels'",
            ":env:.default-timeout='180'",
        ]
    )

    settings = pip_settings(listed)

    assert settings == {"index-url": "https://b.example.test/simple", "cert": "/etc/ca.pem", "timeout": "180"}
    assert pip_conf(settings, certificates="/etc/pip/ca.pem").splitlines() == [
        "[global]",
        "cert = /etc/pip/ca.pem",
        "index-url = https://b.example.test/simple",
        "timeout = 180",
        "disable-pip-version-check = true",
    ]


def test_npm_settings_that_a_build_needs_and_no_others() -> None:
    listed = {
        "registry": "https://npm.example.test/",
        "@team:registry": "https://team.example.test/",
        "noproxy": [""],
        "https-proxy": None,
        "strict-ssl": True,
        "cafile": "/home/me/ca.pem",
        "prefix": "/home/me",
        "//npm.example.test/:_authToken": "(protected)",
    }

    assert npmrc(listed, certificates="/etc/npm/ca.pem").splitlines() == [
        "@team:registry=https://team.example.test/",
        "cafile=/etc/npm/ca.pem",
        "registry=https://npm.example.test/",
        "strict-ssl=true",
        "update-notifier=false",
    ]
    assert "noproxy=a,b\n" in npmrc({"noproxy": ["a", "b"]}, certificates="/x")


def test_apt_sources_of_debian_itself_and_no_others() -> None:
    files = {
        "debian.sources": "Types: deb\nURIs: http://x\nSuites: bookworm bookworm-updates\nComponents: main\n",
        "old.list": "deb http://x bookworm main contrib\n",
        "docker.list": "deb [arch=amd64] https://y bookworm stable\n",
        "node.sources": "Types: deb\nSuites: nodistro\nComponents: main\n",
        "off.list": "# deb http://x bookworm main\n",
    }

    assert apt_sources(files, "bookworm") == ["debian.sources", "old.list"]


def test_recipes_build_on_each_other() -> None:
    text = (REPOSITORY / "cluster/base-images/packages.toml").read_text()

    runtime, build = read_recipe(text, "python"), read_recipe(text, "python-build")

    assert set(runtime.packages) < set(build.packages)
    assert "python3-pip" in build.packages
    assert "python3-pip" not in runtime.packages
    assert "npm" in read_recipe(text, "nodejs-build").packages
    assert not [p for p in read_recipe(text, "nodejs").packages if p == "npm" or "python" in p]
    with pytest.raises(ClusterError, match="no table ruby"):
        read_recipe(text, "ruby")


def test_libraries_from_ldd() -> None:
    printed = (
        "\tlinux-vdso.so.1 (0x00007ffd)\n"
        "\tlibtinfo.so.6 => /lib/x86_64-linux-gnu/libtinfo.so.6 (0x00007f1)\n"
        "\t/lib64/ld-linux-x86-64.so.2 (0x00007f2)\n"
    )

    assert libraries(printed) == ["/lib/x86_64-linux-gnu/libtinfo.so.6", "/lib64/ld-linux-x86-64.so.2"]
    assert libraries("\tnot a dynamic executable\n") == []


@pytest.mark.parametrize(("bound", "lacks"), [("000001ffffffffff", False), ("000001fffeffffff", True)])
def test_the_missing_capability_is_seen(bound: str, lacks: bool) -> None:
    assert lacks_resource_capability(f"Name:\tx\nCapBnd:\t{bound}\n") is lacks


def test_the_daemon_keeps_to_folders_of_its_own(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, tmp_path / "cache", tmp_path / "state")

    plain = daemon_command(workspace, bounded=None)
    bounded = daemon_command(workspace, bounded=tmp_path / "bounded")

    for option in ("--data-root", "--exec-root", "--pidfile", "--config-file"):
        assert plain[plain.index(option) + 1].startswith(str(tmp_path))
    assert plain[plain.index("--host") + 1] == f"unix://{tmp_path}/state/engine/docker.sock"
    assert "--default-runtime" not in plain
    assert bounded[-1] == "bounded"


def test_a_program_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(CommandFailedError, match=r"(?s)exit code 3.*no such thing"):
        run(["sh", "-c", "echo no such thing >&2; exit 3"])
    with pytest.raises(CommandFailedError, match="not installed"):
        run(["/no/such/program"])
    with pytest.raises(CommandFailedError, match="did not end in time"):
        run(["sleep", "60"], timeout=0.05)


def test_lines_come_while_a_program_runs(tmp_path: Path) -> None:
    seen: list[str] = []

    with pytest.raises(CommandFailedError) as caught:
        stream(["sh", "-c", "echo one; echo two >&2; exit 1"], seen.append, log=tmp_path / "log")

    assert seen == ["one", "two"]
    assert caught.value.output == "one\ntwo"
    assert (tmp_path / "log").read_text() == "one\ntwo\n"


def test_steps_are_plain_lines_without_a_terminal() -> None:
    out = io.StringIO()
    report = Reporter(out)

    with report.step("Building [x]"):
        pass

    def fail() -> None:
        with report.step("Loading") as step:
            step.update("halfway")
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        fail()

    first, second = out.getvalue().splitlines()
    assert first.startswith("done    Building [x] (")
    assert second.startswith("failed  Loading: halfway (")
    assert [title for title, _ in report.timings] == ["Building [x]"]


def test_the_nodes_scripts_are_valid() -> None:
    for script in ("node-image/entrypoint", "base-images/postgres/entrypoint"):
        shell = "bash" if script.startswith("node") else "dash"
        subprocess.run([shell, "-n", REPOSITORY / "cluster" / script], check=True)


def test_a_wrong_command_line_ends_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["uo"])
    assert caught.value.code == 2
