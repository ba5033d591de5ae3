"""What a plan can ask for. A closed union: the executor knows every one, and each is harmless when repeated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pact_operator.core.facts import Key


@dataclass(frozen=True, slots=True)
class CreateVerification:
    """Create a PactVerification; `AlreadyExists` with our owner is success."""

    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CreateJob:
    """Create a Job; `AlreadyExists` with our owner is success."""

    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeleteVerification:
    """Delete a PactVerification with its Job; absent is success."""

    name: str


@dataclass(frozen=True, slots=True)
class EnsureEnvironment:
    """Make an environment in the broker unless it has one of that name."""

    name: str
    display_name: str | None
    production: bool


@dataclass(frozen=True, slots=True)
class EnsureMainBranch:
    """Make a pacticipant in the broker unless it is there, and give it a main branch unless it has one."""

    pacticipant: str
    branch: str


@dataclass(frozen=True, slots=True)
class PutWebhook:
    """Put a webhook into the broker under a fixed id (`PUT /webhooks/{uuid}`).

    The definition has no credential: the executor adds the `Authorization` header, so that no token is in a plan.
    """

    uuid: str
    definition: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeleteWebhook:
    """Delete a webhook from the broker; absent is success."""

    uuid: str


@dataclass(frozen=True, slots=True)
class RecordDeployment:
    """Record in the broker that a version runs in an environment, in place of what ran there as the same instance.

    The version must exist: the broker makes none up, and refuses.
    """

    pacticipant: str
    version: str
    environment: str
    instance: str | None


@dataclass(frozen=True, slots=True)
class RecordUndeployment:
    """Record in the broker that a deployed version no longer runs."""

    uuid: str
    """Of the record of its deployment."""


@dataclass(frozen=True, slots=True)
class SetFinalizers:
    """Replace the finalizers of the object that is planned for."""

    finalizers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """Have another object looked at now."""

    key: Key


Action = (
    CreateVerification
    | CreateJob
    | DeleteVerification
    | EnsureEnvironment
    | EnsureMainBranch
    | PutWebhook
    | DeleteWebhook
    | RecordDeployment
    | RecordUndeployment
    | SetFinalizers
    | Look
)


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes Event on the object that is planned for."""

    type: str
    """`Normal` or `Warning`."""
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about one object: effects in this order, then the status once, then the events.

    An empty plan with an unchanged status is what a converged object gets.
    """

    actions: tuple[Action, ...] = ()
    status: Mapping[str, Any] | None = None
    """The whole status as it should be, camelCase; None leaves it alone."""
    events: tuple[Event, ...] = field(default_factory=tuple)
    requeue_after: float | None = None
    """Seconds after which to look again without a hint; None: only a hint brings it back."""
