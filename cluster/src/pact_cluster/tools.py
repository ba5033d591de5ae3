"""The command line tools: those of the machine where they fit, else built from their published Go modules.

Every tool is pinned in a go.mod with its checksums; a build is a plain `go build` of those modules. What is built
lies in the cache under a key of everything that goes into it, so a second start builds nothing.
"""

import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from pact_cluster.errors import ClusterError, CommandFailedError
from pact_cluster.report import Reporter, Step
from pact_cluster.shell import base_environment, run, stream, which
from pact_cluster.workspace import Workspace, fingerprint

Version = tuple[int, ...]

# The cache of compiled packages holds one entry per set of flags: change them and everything is compiled again.
_FLAGS = ("-mod=readonly", "-p", "2", "-trimpath", "-tags", "notest,grpcnotrace", "-gcflags=all=-dwarf=false")
_KUBERNETES = "v1.36.4"
_MAJOR, _MINOR, _ = _KUBERNETES.removeprefix("v").split(".")


def _variables(values: Mapping[str, str]) -> str:
    return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in values.items())])


@dataclass(frozen=True)
class GoModule:
    """A go.mod of ours that pins tools.

    Attributes:
        folder: Its folder below `cluster/tools`.
        ldflags: The linker's flags: without a version, helm's and kubelet's version checks fail.
    """

    folder: str
    ldflags: str


KUBERNETES = GoModule(
    "kubernetes",
    _variables(
        {
            "k8s.io/component-base/version.gitVersion": _KUBERNETES,
            "k8s.io/client-go/pkg/version.gitVersion": _KUBERNETES,
            "k8s.io/component-base/version.gitMajor": _MAJOR,
            "k8s.io/component-base/version.gitMinor": _MINOR,
            "k8s.io/component-base/version.gitTreeState": "clean",
            "k8s.io/component-base/version.gitCommit": "none",
            "sigs.k8s.io/cri-tools/pkg/version.Version": "v1.36.0",
            "helm.sh/helm/v4/internal/version.version": "v4.2.4",
            "helm.sh/helm/v4/internal/version.gitTreeState": "clean",
            "main.version": "v0.8.0",
        }
    ),
)
SKAFFOLD = GoModule(
    "skaffold",
    _variables({"github.com/GoogleContainerTools/skaffold/v2/pkg/skaffold/version.version": "v2.23.0"}),
)
ACTIONLINT = GoModule("actionlint", _variables({"github.com/rhysd/actionlint.version": "v1.7.12"}))
KUBERNETES_VERSION = _KUBERNETES


@dataclass(frozen=True)
class Tool:
    """A program that the project uses.

    Attributes:
        name: The program's name.
        package: The Go package that it is built from.
        module: The go.mod that pins the package.
        ask: Arguments that make it print its version; None: never taken from the machine.
        least: The oldest version of the machine's own that will do.
        below: The first version that will not do any more.
    """

    name: str
    package: str
    module: GoModule = KUBERNETES
    ask: tuple[str, ...] | None = None
    least: Version = ()
    below: Version = field(default=(10_000,))

    def suits(self, version: Version | None) -> bool:
        """Whether the machine's own program of this version will do."""
        return self.ask is not None and version is not None and self.least <= version < self.below


_OWN = "pact-operator.dev/cluster/kubernetes"
_K8S = "k8s.io/kubernetes/cmd"
TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        # kubectl speaks to API servers one minor version away; kind's own node image is one ahead.
        Tool("kubectl", f"{_K8S}/kubectl", ask=("version", "--client"), least=(1, 36), below=(1, 38)),
        Tool("kind", "sigs.k8s.io/kind", ask=("version",), least=(0, 33), below=(0, 34)),
        Tool("helm", "helm.sh/helm/v4/cmd/helm", ask=("version",), least=(4, 2), below=(5,)),
        Tool("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform", ask=("-v",), least=(0, 7), below=(1,)),
        Tool("helm-unittest", "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"),
        Tool("kwok", "sigs.k8s.io/kwok/cmd/kwok", ask=("--version",), least=(0, 8), below=(0, 9)),
        Tool(
            "skaffold",
            "github.com/GoogleContainerTools/skaffold/v2/cmd/skaffold",
            SKAFFOLD,
            ask=("version",),
            least=(2, 16),
            below=(3,),
        ),
        Tool(
            "actionlint",
            "github.com/rhysd/actionlint/cmd/actionlint",
            ACTIONLINT,
            ask=("-version",),
            least=(1, 7, 7),
            below=(2,),
        ),
        # What runs inside the node is always our own build: one set, tried together.
        Tool("kube-apiserver", f"{_K8S}/kube-apiserver"),
        Tool("kube-controller-manager", f"{_K8S}/kube-controller-manager"),
        Tool("kube-proxy", f"{_K8S}/kube-proxy"),
        Tool("kube-scheduler", f"{_K8S}/kube-scheduler"),
        Tool("kubeadm", f"{_K8S}/kubeadm"),
        Tool("kubelet", f"{_K8S}/kubelet"),
        Tool("coredns", f"{_OWN}/coredns"),
        Tool("etcd", f"{_OWN}/etcd"),
        Tool("crictl", "sigs.k8s.io/cri-tools/cmd/crictl"),
    )
}
COMMAND_TOOLS = ("kubectl", "kind", "helm")
NODE_TOOLS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "etcd",
    "coredns",
    "kubeadm",
    "kubelet",
    "kubectl",
    "crictl",
)


def parse_version(text: str) -> Version | None:
    """The first `1.2` or `1.2.3`, with or without a `v`, in what a program printed."""
    found = re.search(r"(?<![\w.])v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in found.groups() if part is not None) if found else None


def required_go(go_mod: str) -> Version:
    """The Go version that a go.mod asks for.

    Raises:
        ClusterError: It has no `go` line.
    """
    found = re.search(r"^go (\S+)$", go_mod, re.MULTILINE)
    version = parse_version(found[1]) if found else None
    if version is None:
        raise ClusterError("A go.mod below cluster/tools has no `go` line.")
    return version


def unknown(names: Iterable[str]) -> list[str]:
    """The names that are no tools of ours."""
    return [name for name in names if name not in TOOLS]


@lru_cache(maxsize=1)
def go_version() -> Version | None:
    """The machine's Go version; None without Go."""
    try:
        return parse_version(run(["go", "env", "GOVERSION"], environment=_go_environment()).replace("go", "v", 1))
    except CommandFailedError:
        return None


def bin_folder(workspace: Workspace, module: GoModule) -> Path:
    """Where the tools of one go.mod are built to; its name changes with all that goes into them."""
    source = workspace.sources / "tools" / module.folder
    parts: list[bytes | str] = [str(go_version()), *_FLAGS, module.ldflags]
    for file in sorted(source.rglob("*")):
        if file.suffix in {".go", ".mod", ".sum"}:
            parts += [file.relative_to(source).as_posix(), file.read_bytes()]
    return workspace.cache / "tools" / f"{module.folder}-{fingerprint(parts)}" / "bin"


def find_on_machine(tool: Tool) -> Path | None:
    """The machine's own program, if its version will do."""
    path = which(tool.name) if tool.ask is not None else None
    if path is None or tool.ask is None:
        return None
    try:
        version = parse_version(run([path, *tool.ask], timeout=20))
    except CommandFailedError:
        return None
    return path if tool.suits(version) else None


def missing_tools(workspace: Workspace, names: Iterable[str], *, own: bool = False) -> list[Tool]:
    """Those of the named tools that would have to be built now.

    Args:
        workspace: Where built tools are looked for.
        names: The tools' names.
        own: Take no program of the machine's.
    """
    return [
        TOOLS[name]
        for name in names
        if not (bin_folder(workspace, TOOLS[name].module) / name).exists()
        and (own or find_on_machine(TOOLS[name]) is None)
    ]


def ensure_tools(
    workspace: Workspace, names: Iterable[str], report: Reporter | None = None, *, own: bool = False
) -> dict[str, Path]:
    """Make sure that tools are there; build those that are not.

    Safe when interrupted, and when two runs want the same tool at once: each finished program is put in place
    in one step, and one run builds at a time.

    Args:
        workspace: Whose cache to use.
        names: The tools' names, keys of `TOOLS`.
        report: Told what is built.
        own: Always our own builds, never the machine's programs.

    Returns:
        Each name's program.

    Raises:
        ClusterError: A name is unknown, or Go is missing or too old.
        CommandFailedError: A build failed.
    """
    report = report or Reporter()
    wanted = list(dict.fromkeys(names))
    if strange := unknown(wanted):
        raise ClusterError(f"No such tool: {', '.join(strange)}; there are {', '.join(sorted(TOOLS))}.")
    if missing_tools(workspace, wanted, own=own):
        with workspace.locked("tools"):
            for module in (KUBERNETES, SKAFFOLD, ACTIONLINT):
                missing = [t for t in missing_tools(workspace, wanted, own=own) if t.module == module]
                if missing:
                    _build(workspace, module, missing, report)
    found: dict[str, Path] = {}
    for name in wanted:
        built = bin_folder(workspace, TOOLS[name].module) / name
        machine = None if own or built.exists() else find_on_machine(TOOLS[name])
        found[name] = machine or built
    return found


def tool_folders(workspace: Workspace) -> list[Path]:
    """The folders of built tools that exist, for PATH."""
    folders = [bin_folder(workspace, module) for module in (KUBERNETES, SKAFFOLD, ACTIONLINT)]
    return [folder for folder in folders if folder.is_dir()]


def describe_go_line(line: str) -> str | None:
    """What a line of `go build -v` says about progress: a module that comes, else None."""
    found = re.match(r"go: downloading (\S+)", line)
    return f"downloading {found[1]}" if found else None


def _build(workspace: Workspace, module: GoModule, tools: list[Tool], report: Reporter) -> None:
    source = workspace.sources / "tools" / module.folder
    have, need = go_version(), required_go((source / "go.mod").read_text())
    names = ", ".join(tool.name for tool in tools)
    if have is None or have < need:
        raise ClusterError(
            f"Go {'.'.join(map(str, need))} or newer is needed to build {names}, and "
            f"{'none' if have is None else 'only ' + '.'.join(map(str, have))} was found: "
            "install it from https://go.dev/dl/, or install those tools themselves."
        )
    target = bin_folder(workspace, module)
    target.mkdir(parents=True, exist_ok=True)
    for stale in target.parent.glob("new-*"):
        shutil.rmtree(stale)
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=target.parent))
    log = target.parent / "build.log"
    try:
        with report.step(f"Building {names} from Go modules") as step:
            counter = _Counter(step)
            stream(
                ["go", "build", "-v", *_FLAGS, "-o", f"{fresh}/", "-ldflags", module.ldflags]
                + [tool.package for tool in tools],
                counter,
                environment=_go_environment(),
                folder=source,
                log=log,
            )
            for tool in tools:
                (fresh / tool.name).replace(target / tool.name)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


class _Counter:
    """Turns the lines of `go build -v` into a running count."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._packages = 0
        self._modules = 0

    def __call__(self, line: str) -> None:
        if describe_go_line(line):
            self._modules += 1
        elif line and " " not in line:
            self._packages += 1
        counts = [
            f"{count} {what}"
            for count, what in ((self._modules, "modules downloaded"), (self._packages, "packages compiled"))
            if count
        ]
        self._step.update(", ".join(counts))


def _go_environment() -> dict[str, str]:
    # The toolchain that is installed, this go.mod and no other, no C compiler, no version control stamps.
    return base_environment() | {
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
        "GOFLAGS": "-buildvcs=false",
    }
