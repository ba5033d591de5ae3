"""Where things lie and which choices were made."""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pact_cluster.errors import ClusterError

CLUSTER_NAME = "pact"
CONTEXT = f"kind-{CLUSTER_NAME}"


class ClusterChoice(StrEnum):
    """Which cluster to use (`CLUSTER`)."""

    AUTO = "auto"
    """kind; where no Docker engine runs, Debian's is installed and started."""
    KIND = "kind"
    """kind on a Docker engine that already runs; nothing is installed."""
    CONTEXT = "context"
    """An existing cluster, named by its kube context."""


class NodeImageChoice(StrEnum):
    """Which node image kind uses (`NODE_IMAGE`)."""

    AUTO = "auto"
    """The official one where a registry answers, else the local one."""
    OFFICIAL = "official"
    LOCAL = "local"


@dataclass(frozen=True)
class Settings:
    """What the environment asks for.

    Attributes:
        cluster: The kind of cluster.
        context: The kube context's name; empty unless `cluster` is CONTEXT.
        node_image: The node image of a kind cluster.
    """

    cluster: ClusterChoice = ClusterChoice.AUTO
    context: str = ""
    node_image: NodeImageChoice = NodeImageChoice.AUTO

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read `CLUSTER` and `NODE_IMAGE`.

        Raises:
            ClusterError: A value is none of those allowed.
        """
        wanted = environment.get("CLUSTER", "").strip() or "auto"
        kind, _, context = wanted.partition(":")
        if kind == "context" and not context:
            raise ClusterError("CLUSTER=context needs a name: set CLUSTER=context:NAME.")
        if kind not in set(ClusterChoice) or (context and kind != "context"):
            raise ClusterError(f"CLUSTER={wanted} is not known: use auto, kind or context:NAME.")
        image = environment.get("NODE_IMAGE", "").strip() or "auto"
        if image not in set(NodeImageChoice):
            raise ClusterError(f"NODE_IMAGE={image} is not known: use auto, official or local.")
        return cls(ClusterChoice(kind), context, NodeImageChoice(image))


@dataclass(frozen=True)
class Workspace:
    """The folders of the project and of this user.

    Attributes:
        root: The repository.
        cache: What is slow to make again: tools, the engine's data. Survives `down`.
        state: What belongs to the running cluster. Gone after `down`.
        settings: What the environment asks for.
    """

    root: Path
    cache: Path
    state: Path
    settings: Settings = field(default_factory=Settings)

    @classmethod
    def find(cls, environment: Mapping[str, str] | None = None, root: Path | None = None) -> "Workspace":
        """The workspace that this package lies in, for the user who runs it.

        Raises:
            ClusterError: The repository is not there, or a setting is wrong.
        """
        env = os.environ if environment is None else environment
        candidates = [root] if root else [Path(__file__).resolve().parents[3], Path.cwd(), *Path.cwd().parents]
        found = next((c for c in candidates if (c / "cluster/tools/kubernetes/go.mod").is_file()), None)
        if found is None:
            raise ClusterError("The repository was not found: run this inside a checkout of the project.")
        home = Path(env.get("HOME") or Path.home())
        cache = Path(env.get("XDG_CACHE_HOME") or home / ".cache") / "pact-operator"
        state = Path(env.get("XDG_STATE_HOME") or home / ".local/state") / "pact-operator"
        return cls(found, cache, state, Settings.from_environment(env))

    @property
    def sources(self) -> Path:
        """The repository's folder of everything about clusters."""
        return self.root / "cluster"

    @property
    def kubeconfig(self) -> Path:
        """The kind cluster's kubeconfig."""
        return self.state / "kubeconfig"

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold a lock against other runs by this user; waits for its turn.

        The lock files lie in the cache, which `down` keeps, so that a run that waits and one that
        comes after it hold the same file.
        """
        folder = self.cache / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def fingerprint(parts: Iterable[bytes | str]) -> str:
    """Twelve hexadecimal digits that change when any part, or their order, changes."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:12]


def tree_parts(folder: Path, *names: str) -> list[bytes]:
    """Relative names, modes and contents of the named files (default: every file) below a folder, in order."""
    files = [folder / n for n in names] if names else sorted(p for p in folder.rglob("*") if p.is_file())
    parts: list[bytes] = []
    for file in files:
        executable = b"x" if file.stat().st_mode & 0o111 else b"-"
        parts += [file.relative_to(folder).as_posix().encode(), executable, file.read_bytes()]
    return parts
