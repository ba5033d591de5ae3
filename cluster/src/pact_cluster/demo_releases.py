"""The demo's Helm releases: which charts, with which values, and how they are brought up to date."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pact_cluster.errors import ClusterError, CommandFailedError
from pact_cluster.kind import context_of, environment
from pact_cluster.shell import run, stream
from pact_cluster.tools import ensure_tools
from pact_cluster.workspace import Workspace

SYSTEM: Final = "pact-system"
DEMO: Final = "pact-demo"
CONSUMER: Final = "users-consumer"
FLASK: Final = "flask-provider"
FASTAPI: Final = "fastapi-provider"
PROVIDERS: Final = (FLASK, FASTAPI)
BROKER: Final = "pact-broker"
BRANCH: Final = "main"

USES_BROKER: Final = {"pact-operator.dev/uses-broker": "demo"}
"""On a namespace: its Pods may reach the demo's broker, where the cluster enforces NetworkPolicies."""

RESTRICTED: Final = {"pod-security.kubernetes.io/enforce": "restricted"}
"""On both namespaces: the API server refuses every Pod that is not hardened."""

ENVIRONMENT: Final = "demo"
"""What the demo's namespace is to the broker."""


@dataclass(frozen=True)
class Release:
    """One Helm release.

    Attributes:
        name: Its name.
        chart: Folder below `charts/`.
        namespace: Where.
        values: What differs from the chart's own values.
    """

    name: str
    chart: str
    namespace: str
    values: Mapping[str, Any] = field(default_factory=dict)


def tag_of(reference: str) -> str:
    """The tag of an image reference."""
    return reference.rpartition(":")[2]


def operator(images: Mapping[str, str]) -> Release:
    """The operator; `images` maps image names to references."""
    values = {
        "image": {"tag": tag_of(images["operator"])},
        "jobImages": {
            "verifier": {"tag": tag_of(images["verifier"])},
            "publisher": {"tag": tag_of(images["publisher"])},
        },
        # The hook Jobs of the providers ask the gate.
        "gate": {"copyTokenTo": [DEMO]},
    }
    return Release("pact-operator", "pact-operator", SYSTEM, values)


def broker(images: Mapping[str, str]) -> Release:
    """The broker with its Postgres; the small server of our own where `images` has it, else the official one."""
    values: dict[str, Any] = {
        "pactBroker": {
            "create": True,
            "environment": {"name": ENVIRONMENT, "displayName": "The demo's namespace"},
            "recording": {"mode": "Record"},
            "webhook": {"enabled": True},
        },
        "networkPolicy": {"extraIngressFrom": [{"namespaceSelector": {"matchLabels": USES_BROKER}}]},
    }
    if "broker-lite" in images:
        values["flavour"] = "lite"
        values["images"] = {"lite": {"tag": tag_of(images["broker-lite"])}}
        repository, _, tag = images["postgres"].rpartition(":")
        values["postgres"] = {"image": {"repository": repository, "tag": tag}}
    return Release(BROKER, "pact-broker", DEMO, values)


def provider(name: str, reference: str, gate: str = "") -> Release:
    """One of the two example providers at a version, which its image's tag is.

    Args:
        name: Of the release.
        reference: The provider's image.
        gate: Image of the Job that asks the gate before an upgrade; empty: nobody asks.
    """
    repository, _, tag = reference.rpartition(":")
    own: dict[str, Any] = {"create": True, "branch": BRANCH}
    if name == FASTAPI:
        own["messagePath"] = "/_pact/messages"
    values: dict[str, Any] = {"image": {"repository": repository, "tag": tag}, "pactProvider": own}
    if gate:
        values["gate"] = {"enabled": True, "image": {"tag": tag_of(gate)}}
    return Release(name, "provider", DEMO, values)


def consumer(reference: str, version: str) -> Release:
    """The example consumer: an image, and the version under which its pacts are published."""
    repository, _, tag = reference.rpartition(":")
    values = {"image": {"repository": repository, "tag": tag}, "version": version, "branch": BRANCH}
    return Release(CONSUMER, "consumer", DEMO, values)


class Helm:
    """Helm, for one cluster.

    Args:
        workspace: Whose charts and cluster.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._program: Path = ensure_tools(workspace, ["helm"])["helm"]
        self._environment = environment(workspace)

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 300) -> str:
        """Run helm.

        Raises:
            CommandFailedError: It failed.
        """
        command = [str(self._program), *arguments, "--kube-context", context_of(self._workspace)]
        return run(command, environment=self._environment, stdin=stdin, timeout=timeout)

    def apply(self, release: Release) -> None:
        """Install a release or bring it up to date; waits for nothing that it starts, and runs no hook.

        Without hooks nobody asks the gate: this is how the demo gets back to where it began, whatever its contracts
        are worth. A run that was cut off leaves a release `pending`, which helm would refuse to touch. That record is
        removed: what it made is taken over by this run.

        Raises:
            CommandFailedError: Helm failed.
        """
        self._forget_pending(release)
        chart = str(self._workspace.root / "charts" / release.chart)
        where = ["--namespace", release.namespace]
        command = ["upgrade", "--install", release.name, chart, *where, "--no-hooks", "--values", "-"]
        self.run(*command, stdin=json.dumps(release.values))

    def upgrade(self, release: Release) -> str:
        """Bring a release up to date as people do, hooks and all.

        Returns:
            All that helm wrote, the logs of hooks included.

        Raises:
            CommandFailedError: Helm failed, or a hook refused; carries the same.
        """
        self._forget_pending(release)
        chart = str(self._workspace.root / "charts" / release.chart)
        lines: list[str] = []
        with tempfile.NamedTemporaryFile("w", suffix=".json") as values:
            json.dump(release.values, values)
            values.flush()
            command = [str(self._program), "upgrade", release.name, chart, "--namespace", release.namespace]
            command += ["--values", values.name, "--kube-context", context_of(self._workspace)]
            stream(command, lines.append, environment=self._environment)
        return "\n".join(lines)

    def values(self, release: str, namespace: str) -> dict[str, Any]:
        """The values that a release was given; empty if there is no such release."""
        try:
            return dict(
                json.loads(self.run("get", "values", release, "--namespace", namespace, "--output", "json")) or {}
            )
        except CommandFailedError as error:
            if "not found" in error.output:
                return {}
            raise ClusterError(f"Helm cannot tell about the release {release}: {error}") from error

    def _forget_pending(self, release: Release) -> None:
        kubectl = ensure_tools(self._workspace, ["kubectl"])["kubectl"]
        records = f"owner=helm,name={release.name},status in (pending-install,pending-upgrade,pending-rollback)"
        where = ["--context", context_of(self._workspace), "--namespace", release.namespace]
        run([kubectl, *where, "delete", "secrets", "--selector", records], environment=self._environment, timeout=60)
