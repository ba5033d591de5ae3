"""What the engine needs of the outside, as protocols; the adapters implement them, the simulation too.

Every method is asynchronous and may raise `ClusterError` (Kubernetes) or `BrokerFailureError` (Pact Broker)
and nothing else that the engine has to know.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from pact_operator.api.v1alpha1 import PactBroker, Selector
from pact_operator.core.facts import Contract, Deployed, Failure, Key, Matrix, Question, Result

HASTY_SECONDS: Final = 1.5
"""What a broker may take for an answer that somebody waits for, in all: the gate answers within two seconds."""


class ClusterError(Exception):
    """The API server refused or did not answer.

    Attributes:
        status: HTTP status, 0 when there was no answer.
        reason: Kubernetes' machine-readable reason, such as `Forbidden` or `AlreadyExists`.
        retryable: whether the same call may succeed later without anybody's doing.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later without anybody's doing."""
        return self.status in (0, 409, 429) or self.status >= 500

    @property
    def ambiguous(self) -> bool:
        """Whether what was asked for may have happened all the same: no answer came, or none that says no."""
        return self.status == 0 or self.status >= 500


class BrokerFailureError(Exception):
    """The broker did not give an answer; `failure` says why, ready for a condition."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Cluster(Protocol):
    """The API server, as far as the engine writes to it or must read past the indexes."""

    async def create(self, manifest: Mapping[str, Any]) -> None:
        """Creates a namespaced object.

        `AlreadyExists` is success if the existing object's controller owner reference has the same UID as the
        manifest's; otherwise `ClusterError` with status 409 and reason `AlreadyExists`.
        """

    async def delete(self, api_version: str, kind: str, namespace: str, name: str) -> None:
        """Deletes an object with what it owns (propagation `Background`); absent is success."""

    async def patch_status(self, key: Key, status: Mapping[str, Any], resource_version: str) -> None:
        """Replaces the status of an object of ours; `ClusterError` 409 if it changed meanwhile, gone is success."""

    async def set_finalizers(self, key: Key, finalizers: Sequence[str], resource_version: str) -> str | None:
        """Replaces the finalizers of an object of ours; `ClusterError` 409 if it changed meanwhile.

        Returns:
            The object's new resource version, or None if it is gone (its last finalizer may have held it).
        """

    async def secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Reads a Secret: key -> decoded value; None if there is none."""

    async def complaint(self, namespace: str, job: str) -> str:
        """What Kubernetes last complained of about a Job (Warning Events), such as a quota; nothing: the empty text."""

    async def event(self, key: Key, uid: str, type_: str, reason: str, message: str) -> None:
        """Records an Event on an object of ours. Best effort: never raises."""


class Brokers(Protocol):
    """Pact Brokers, addressed by the PactBroker that describes them. Each method may raise `BrokerFailureError`."""

    async def check(self, broker: PactBroker) -> None:
        """Asks the broker's index with the read credentials."""

    async def fingerprint(self, broker: PactBroker) -> str | None:
        """Changes whenever something was published, verified, deployed or deleted; None where nobody can tell."""

    async def contracts(
        self,
        broker: PactBroker,
        provider: str,
        selectors: Sequence[Selector],
        *,
        branch: str | None,
        enable_pending: bool,
        wip_since: str | None,
    ) -> tuple[Contract, ...]:
        """Contracts in scope (`POST /pacts/provider/{p}/for-verification`); none for an unknown provider."""

    async def results(self, broker: PactBroker, provider: str, version: str) -> Mapping[tuple[str, str], Result]:
        """Last result per (consumer, content SHA) of a provider version (`GET /matrix`), failed ones with mismatch."""

    async def in_use(self, broker: PactBroker) -> Mapping[str, tuple[str, ...]]:
        """Versions deployed, or released and supported, in any environment: pacticipant -> versions, newest first."""

    async def main_branch(self, broker: PactBroker, pacticipant: str) -> str | None:
        """The main branch of a pacticipant (`GET /pacticipants/{p}`); None if it has none, or is not known."""

    async def ensure_main_branch(self, broker: PactBroker, pacticipant: str, branch: str) -> None:
        """Makes a pacticipant unless it exists, and sets its main branch unless it has one (write credentials)."""

    async def deployed(self, broker: PactBroker, environment: str) -> Mapping[str, tuple[Deployed, ...]]:
        """What the broker holds as deployed in an environment: pacticipant -> records, newest first.

        An environment that it does not hold is a failure: nothing can be said of it.
        """

    async def has_version(self, broker: PactBroker, pacticipant: str, version: str) -> bool:
        """Whether the broker knows a version of a pacticipant (`GET /pacticipants/{p}/versions/{v}`)."""

    async def record_deployment(
        self, broker: PactBroker, pacticipant: str, version: str, environment: str, instance: str | None
    ) -> None:
        """Records that a version runs; repeating it changes nothing (write credentials)."""

    async def record_undeployment(self, broker: PactBroker, uuid: str) -> None:
        """Records that a deployed version no longer runs; an unknown one is success (write credentials)."""

    async def can_i_deploy(
        self, broker: PactBroker, question: Question, ignore: Sequence[str], *, hasty: bool
    ) -> Matrix:
        """What the broker says to the gate's question (`GET /matrix`), and what is in the environment.

        A version, or a pacticipant, that the broker does not know has no rows, and `deployable` is False; an
        environment that it does not know is a `BrokerFailureError`.

        Args:
            broker: the PactBroker.
            question: who wants to go where.
            ignore: other pacticipants whose contracts do not count.
            hasty: somebody waits for the answer: it comes, or does not, within `HASTY_SECONDS`.
        """

    async def mismatch(self, broker: PactBroker, result_url: str) -> str:
        """The first mismatch of a result in one line, empty where the verifier published none. Hasty."""

    async def environments(self, broker: PactBroker) -> frozenset[str]:
        """Names of the broker's environments."""

    async def ensure_environment(
        self, broker: PactBroker, name: str, display_name: str | None, production: bool
    ) -> None:
        """Makes an environment unless it exists (write credentials)."""

    async def webhook(self, broker: PactBroker, uuid: str) -> Mapping[str, Any] | None:
        """Reads a webhook, None if there is none."""

    async def put_webhook(self, broker: PactBroker, uuid: str, definition: Mapping[str, Any]) -> None:
        """Puts a webhook under a fixed id, the hook token added (write credentials)."""

    async def delete_webhook(self, broker: PactBroker, uuid: str) -> None:
        """Deletes a webhook; absent is success (write credentials)."""


class Clock(Protocol):
    """Time, so that tests and simulations own it."""

    def now(self) -> float:
        """Seconds since the epoch."""
