"""What the cluster looks like right now, as the watches have told: the read side of the engine."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from pact_operator.core.facts import Key, WorkloadFacts

Body = Mapping[str, Any]
"""An object as the API server holds it; `metadata.managedFields` may be missing."""


class Snapshot(Protocol):
    """Indexes over watched objects. Every answer is from memory; nothing here fails or waits."""

    def body(self, key: Key) -> Body | None:
        """An object of ours, None if there is none."""

    def bodies(self, kind: str, namespace: str) -> Iterable[Body]:
        """All objects of one of our kinds in a namespace, in any order."""

    def verifications(self, namespace: str, provider: str) -> Iterable[Body]:
        """PactVerifications with this value of the provider label, in any order."""

    def jobs(self, namespace: str, role: str, owner: str) -> Iterable[Body]:
        """Jobs with these values of our labels, in any order."""

    def pods(self, namespace: str, role: str, owner: str) -> Iterable[Body]:
        """Pods with these values of our labels, in any order."""

    def workload(self, namespace: str, name: str) -> WorkloadFacts | None:
        """A Deployment, None if there is none."""
