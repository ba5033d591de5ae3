"""One look at the machine before anything is started: what is missing, in a sentence each."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from pact_cluster.errors import ClusterError
from pact_cluster.shell import which
from pact_cluster.tools import Version, go_version, missing_tools, required_go
from pact_cluster.workspace import Workspace

_GIB = 1024**3
# Measured: engine data 5 GiB, tools 1 GiB, compiled packages and modules 6 GiB; and room to breathe.
_DISK_GIB = 15
_MEMORY_GIB = 4
# A unix socket's path has 108 bytes; containerd adds up to 40 below the engine's folder.
_LONGEST_FOLDER = 60


@dataclass(frozen=True)
class Facts:
    """What the checks look at.

    Attributes:
        root: Whether this is root.
        debian: Whether the machine runs Debian (or a system made from it, with apt-get).
        free_disk: Free bytes where the engine's data goes.
        disk_folder: That folder.
        free_memory: Bytes of memory that can be had.
        cgroups: The controllers that are mounted or available.
        cgroup_problem: Why cgroups cannot be used; empty if they can.
        engine: Whether a Docker engine answers.
        state_folder: Where sockets are made.
        go: Go's version, None without Go.
        go_needed: The version needed to build `to_build`.
        to_build: Tools that must be built.
    """

    root: bool
    debian: bool
    free_disk: int
    disk_folder: Path
    free_memory: int
    cgroups: frozenset[str]
    cgroup_problem: str
    engine: bool
    state_folder: Path
    go: Version | None
    go_needed: Version
    to_build: tuple[str, ...]


_NEEDED_CGROUPS = frozenset({"cpu", "cpuset", "memory", "pids"})


def tool_problems(facts: Facts) -> list[str]:
    """What is missing to build the tools that are needed."""
    if not facts.to_build or (facts.go is not None and facts.go >= facts.go_needed):
        return []
    have = "none" if facts.go is None else "only " + _dotted(facts.go)
    sentence = (
        f"Go {_dotted(facts.go_needed)} or newer is needed to build {', '.join(facts.to_build)}, and {have} was found: "
        "install it from https://go.dev/dl/."
    )
    return [sentence]


def engine_problems(facts: Facts) -> list[str]:
    """What is missing to start an engine of our own; nothing where one already answers."""
    if facts.engine:
        return []
    problems: list[str] = []
    if not facts.debian:
        problems.append(
            "No Docker engine answers, and one can be installed here only on Debian: install and start Docker."
        )
    elif not facts.root:
        problems.append("No Docker engine answers, and only root can start one: start Docker, or run this as root.")
    if facts.cgroup_problem:
        problems.append(facts.cgroup_problem)
    elif lacking := sorted(_NEEDED_CGROUPS - facts.cgroups):
        problems.append(
            f"The kernel offers no cgroup controller for {', '.join(lacking)}: mount or enable it, a node needs it."
        )
    if len(str(facts.state_folder)) > _LONGEST_FOLDER:
        problems.append(
            f"The state folder's path ({facts.state_folder}) is too long for sockets: set XDG_STATE_HOME to one of at "
            f"most {_LONGEST_FOLDER - len('/pact-operator')} characters."
        )
    return problems


def space_problems(facts: Facts) -> list[str]:
    """What is missing of disk and memory."""
    problems: list[str] = []
    if facts.free_disk < _DISK_GIB * _GIB:
        problems.append(
            f"{_DISK_GIB} GiB of disk are needed at {facts.disk_folder}, but only {facts.free_disk / _GIB:.1f} GiB "
            "are free: free some, or set XDG_CACHE_HOME to a larger disk."
        )
    if facts.free_memory < _MEMORY_GIB * _GIB:
        problems.append(
            f"{_MEMORY_GIB} GiB of memory are needed, and {facts.free_memory / _GIB:.1f} GiB are available: "
            "end other programs."
        )
    return problems


def problems(facts: Facts) -> list[str]:
    """Everything that is missing, in a sentence each."""
    return engine_problems(facts) + tool_problems(facts) + space_problems(facts)


def gather(workspace: Workspace, names: tuple[str, ...] = (), *, engine: bool = False) -> Facts:
    """Look at the machine.

    Args:
        workspace: Whose folders are meant.
        names: Tools that will be needed.
        engine: Whether a Docker engine answers.
    """
    cgroups, cgroup_problem = _cgroups(Path("/sys/fs/cgroup"), Path("/proc/mounts").read_text())
    existing = next(p for p in (workspace.cache, *workspace.cache.parents) if p.exists())
    to_build = missing_tools(workspace, names)
    needed = [required_go((workspace.sources / "tools" / t.module.folder / "go.mod").read_text()) for t in to_build]
    return Facts(
        root=os.geteuid() == 0,
        debian=is_debian(_read("/etc/os-release")) and which("apt-get") is not None,
        free_disk=shutil.disk_usage(existing).free,
        disk_folder=workspace.cache,
        free_memory=available_memory(_read("/proc/meminfo")),
        cgroups=cgroups,
        cgroup_problem=cgroup_problem,
        engine=engine,
        state_folder=workspace.state,
        go=go_version() if to_build else None,
        go_needed=max(needed, default=()),
        to_build=tuple(t.name for t in to_build),
    )


def require_engine(workspace: Workspace) -> None:
    """Check what starting an engine needs.

    Raises:
        ClusterError: Something is missing; names all of it.
    """
    facts = gather(workspace)
    _raise(engine_problems(facts) + space_problems(facts))


def require(workspace: Workspace, names: tuple[str, ...], *, engine: bool) -> None:
    """Check everything at once, before minutes are spent.

    Args:
        workspace: Whose folders are meant.
        names: Tools that will be needed.
        engine: Whether a Docker engine answers already.

    Raises:
        ClusterError: Something is missing; names all of it.
    """
    facts = gather(workspace, names, engine=engine)
    _raise(problems(facts) if not engine else tool_problems(facts))


def is_debian(os_release: str) -> bool:
    """Whether /etc/os-release says Debian, or made from Debian."""
    values = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    ids = f"{values.get('ID', '')} {values.get('ID_LIKE', '')}".replace('"', "")
    return "debian" in ids.split()


def available_memory(meminfo: str) -> int:
    """Available bytes from /proc/meminfo; 0 if it does not say."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _cgroups(root: Path, mounts: str) -> tuple[frozenset[str], str]:
    unified = root / "cgroup.controllers"
    if unified.exists():
        return frozenset(unified.read_text().split()), ""
    found: set[str] = set()
    for line in mounts.splitlines():
        _, point, kind, options, *_ = line.split()
        if kind == "cgroup" and Path(point).parent == root:
            found.update(options.split(","))
    if not found:
        return frozenset(), f"No cgroups are mounted at {root}: mount them; containers cannot run without."
    return frozenset(found), ""


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _raise(found: list[str]) -> None:
    if found:
        raise ClusterError(found[0] if len(found) == 1 else "\n".join(f"- {sentence}" for sentence in found))
