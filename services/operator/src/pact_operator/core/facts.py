"""What a decision may know: frozen snapshots, gathered by the engine, never fetched by the core.

All times are seconds since the epoch (`float`); the core never reads a clock, `now` is a fact like any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pact_operator.api.reasons import Reason
from pact_operator.api.v1alpha1 import (
    ContractStatus,
    DeploymentStatus,
    GateSpec,
    PactBroker,
    PactConsumer,
    PactProvider,
    PactVerification,
)
from pact_operator.core.rollout import Rollout


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names one object of ours; the unit of work of the engine."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class Trouble(StrEnum):
    """Why a question to the broker has no answer."""

    UNAVAILABLE = "BrokerUnavailable"
    UNAUTHORIZED = "BrokerUnauthorized"
    NOT_A_BROKER = "NotABroker"
    NO_CREDENTIALS = "CredentialsNotFound"
    REFUSED = "Refused"
    NO_ENVIRONMENT = "EnvironmentNotInBroker"
    BUSY = "GateBusy"


@dataclass(frozen=True, slots=True)
class Failure:
    """A question that has no answer, and one sentence why."""

    trouble: Trouble
    message: str


@dataclass(frozen=True, slots=True)
class Contract:
    """A pact in scope of a provider's selectors, from `POST /pacts/provider/{p}/for-verification`."""

    consumer: str
    content_sha: str
    url: str
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The last verification result that the broker holds for a content and a provider version."""

    consumer: str
    content_sha: str
    success: bool
    url: str = ""
    mismatch: str = ""
    published_at: str = ""
    """When the content was first published by one of the consumer versions that the result is for; RFC 3339."""


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """What the broker says of one provider version: what is in scope, and what has a result."""

    version: str
    contracts: tuple[Contract, ...]
    results: Mapping[tuple[str, str], Result]
    """(consumer, content SHA) -> last result."""
    current: bool = True
    """Whether it is the version of the object, not one that the broker only holds as deployed or released."""
    candidate_until: float | None = None
    """Of a version that was only asked about, to be verified before it is rolled out: until when it matters."""


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A Job of ours, as the API server holds it."""

    name: str
    uid: str
    owner_uid: str
    created_at: float = 0.0
    complete: bool = False
    failed: bool = False
    failed_reason: str = ""
    failed_message: str = ""
    suspended: bool = False
    """Whether something such as Kueue holds it back: then it has no Pod, and should have none."""
    complaint: str = ""
    """Why Kubernetes does not create its Pod, as far as it says so: a quota, Pod Security, an admission webhook."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A container that has ended."""

    container: str
    exit_code: int
    reason: str = ""
    message: str = ""
    finished_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A container that cannot start yet, in the kubelet's words."""

    container: str
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """The newest Pod of a Job."""

    name: str
    phase: str
    created_at: float = 0.0
    unschedulable: str = ""
    waiting: tuple[Waiting, ...] = ()
    running: tuple[str, ...] = ()
    ended: tuple[Ended, ...] = ()

    def end_of(self, container: str) -> Ended | None:
        """The end of a container, or None while it has not ended."""
        return next((end for end in self.ended if end.container == container), None)


@dataclass(frozen=True, slots=True)
class WorkloadFacts:
    """A Deployment that a version is read from."""

    name: str
    containers: Mapping[str, str]
    """Container name -> image, in the order of the Pod template."""
    labels: Mapping[str, str]
    """Labels of the Pod template."""
    rollout: Rollout = Rollout.PROGRESSING


@dataclass(frozen=True, slots=True)
class Deployed:
    """A version that the broker holds as deployed in an environment."""

    uuid: str
    version: str
    instance: str | None = None
    """The application instance; None is one of its own."""


@dataclass(frozen=True, slots=True)
class Sharer:
    """Another object of the same pacticipant and application instance whose version is read from a workload, too."""

    key: Key
    workload: str
    """Name of its Deployment."""
    version: str | None
    """What it takes for the version; None where it cannot tell."""
    last: DeploymentStatus | None = None
    """Its `status.deployment`."""


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """What a look needs to know to compare what runs with what the broker holds as deployed."""

    held: tuple[Deployed, ...] | Failure
    """What the broker holds as deployed of the pacticipant in the environment, as whatever instance."""
    known: bool | Failure | None = None
    """Whether the broker knows the version that runs; None: nothing depends on it, so it was not asked."""
    sharers: tuple[Sharer, ...] = ()
    claimed: frozenset[str | None] = frozenset()
    """Application instances that other objects of the same pacticipant have."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator was started with."""

    verifier_image: str
    publisher_image: str
    image_pull_policy: str = "IfNotPresent"
    hook_url: str = ""
    """Base URL of the hook receiver as the broker reaches it; empty: no webhooks."""
    hook_token_digest: str = ""
    """First 12 hex digits of the SHA-256 of the hook token: tells a rotation without telling the token."""


@dataclass(frozen=True, slots=True, order=True)
class Question:
    """May this version of this pacticipant go to this environment?"""

    pacticipant: str
    version: str
    environment: str


@dataclass(frozen=True, slots=True)
class GateRow:
    """One row of the broker's matrix (`GET /matrix`): a consumer version's pact, a provider version, its result."""

    consumer: str
    consumer_version: str
    provider: str
    provider_version: str | None
    """None: no version of the provider that was looked at has a result."""
    success: bool | None
    """None: there is no result."""
    content_sha: str = ""
    result_url: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """What the broker says: its own verdict, the rows behind it, and what is in the environment."""

    deployable: bool | None
    reason: str = ""
    rows: tuple[GateRow, ...] = ()
    in_environment: Mapping[str, tuple[str, ...]] | None = None
    """Pacticipant -> versions deployed, or released and supported, in the environment. None: it was not needed, since
    no row is a consumer's."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why the broker's answer is not there."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Verifier:
    """What a PactProvider of the namespace can tell of the versions that it looks after."""

    name: str
    pacticipant: str
    versions: tuple[str, ...] = ()
    """Those that it looks after: the current one, candidates, and those that are deployed or released."""
    asked: tuple[str, ...] = ()
    """Those that it was asked to have verified before they are rolled out, looked at already or not."""
    any_version: bool = False
    """Whether it can start other versions than the one that runs."""
    contracts: tuple[ContractStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class GateFacts:
    """Everything that the gate's `decide` may know."""

    question: Question
    matrix: Matrix | Obstacle
    policy: GateSpec
    now: float
    """Seconds since the epoch; ignoring ends by it."""
    verifiers: tuple[Verifier, ...] = ()
    publishes: bool = False
    """Whether a PactConsumer of the namespace publishes pacts of the pacticipant."""
    mismatches: Mapping[str, str] | None = None
    """URL of a result -> the first mismatch in the broker's words; used where no PactProvider tells it better."""


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """Everything that `plan_broker` may know."""

    broker: PactBroker
    check: Failure | None
    """None: the broker answered and took the read credentials."""
    settings: Settings
    now: float
    webhook: Mapping[str, Any] | None = None
    """The webhook as the broker holds it; None: there is none, or it was not asked for."""
    environments: frozenset[str] = frozenset()
    """Names of the environments that the broker holds; empty when none was asked for."""
    failed: Mapping[str, Failure] = field(default_factory=dict)
    """Name of an action class of the same look -> why it failed."""


@dataclass(frozen=True, slots=True)
class ConsumerFacts:
    """Everything that `plan_consumer` may know."""

    consumer: PactConsumer
    broker: PactBroker | None
    workload: WorkloadFacts | None
    jobs: Mapping[str, JobFacts]
    """Name -> Job, for the Jobs of this object."""
    pods: Mapping[str, PodFacts]
    """Job name -> its newest Pod."""
    settings: Settings
    now: float
    main_branch: str | Failure | None = None
    """The pacticipant's in the broker; None: there is none, or it was not asked for since the spec names none."""
    providers: tuple[tuple[str, Key], ...] = ()
    """(pacticipant, key) of the PactProviders with the same broker: they are looked at once a pact is published."""
    deployment: DeploymentFacts | None = None
    """None: what runs is not compared with the broker's record."""
    gate: GateFacts | None = None
    """What the condition `Deployable` rests on; None: there is no environment, or no version to speak of."""
    failed: Mapping[str, Failure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class InLine:
    """A PactProvider that waits for a place, in the order in which they are served."""

    since: float
    name: str


@dataclass(frozen=True, slots=True)
class Places:
    """How many runs a PactBroker allows at the same time, and who has or wants one."""

    limit: int
    taken: frozenset[str] = frozenset()
    """Names of the active runs that were made for its PactProviders."""
    line: tuple[InLine, ...] = ()
    """Its PactProviders that wait, in any order."""
    freed_at: float = 0.0
    """When a run last ended."""


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """Everything that `plan_provider` may know."""

    provider: PactProvider
    broker: PactBroker | None
    workload: WorkloadFacts | None
    versions: tuple[VersionFacts, ...] | Failure | None
    """What the broker says of each version that matters; None: it was not asked, since no version is known."""
    verifications: tuple[PactVerification, ...]
    """The runs of this object, in any order."""
    now: float
    main_branch: str | Failure | None = None
    """The pacticipant's in the broker; None: there is none, or it was not asked for since the spec names none."""
    places: Places | None = None
    """None: the broker's runs are not limited."""
    deployment: DeploymentFacts | None = None
    """None: what runs is not compared with the broker's record."""
    consumers: tuple[tuple[str, Key], ...] = ()
    """(pacticipant, key) of the PactConsumers with the same broker: what a contract comes to concerns them, too."""
    gate: GateFacts | None = None
    """What the condition `Deployable` rests on; None: there is no environment, or no version to speak of."""
    failed: Mapping[str, Failure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VerificationFacts:
    """Everything that `plan_verification` may know."""

    verification: PactVerification
    broker: PactBroker | None
    job: JobFacts | None
    pod: PodFacts | None
    settings: Settings
    now: float
    results: Mapping[tuple[str, str], Result] | Failure | None = None
    """What the broker holds for the version; None: it was not asked, since the verifier has not ended."""
    failed: Mapping[str, Failure] = field(default_factory=dict)
