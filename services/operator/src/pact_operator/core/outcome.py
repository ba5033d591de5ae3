"""What a Pod's end means: termination messages and container states, read with distrust.

A message is only ever believed as far as the exit code agrees, and of a published run the broker's answer decides.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from pact_operator.api import names
from pact_operator.api.reasons import Reason
from pact_operator.api.v1alpha1 import Open, PactResult, PactVerification, PublishedPact
from pact_operator.core.facts import Ended, JobFacts, PodFacts, Waiting

MAX_PACTS: Final = 200

IMAGE_REASONS: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
"""The kubelet's words for an image that is not to be had (`pkg/kubelet/images` of Kubernetes)."""
START_REASONS: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


class VerifierMessage(Open):
    """The verifier's termination message, schema `pact-operator.dev/verifier/v1`."""

    schema_: Literal["pact-operator.dev/verifier/v1"] = Field(alias="schema")
    outcome: Literal["Passed", "ContractBroken", "NothingToVerify", "InfrastructureError"]
    reason: str
    message: str = ""
    pacts: Annotated[list[PactResult], Field(max_length=MAX_PACTS)] = Field(default_factory=list)


class PublisherMessage(Open):
    """The publisher's termination message, schema `pact-operator.dev/publisher/v1`."""

    schema_: Literal["pact-operator.dev/publisher/v1"] = Field(alias="schema")
    outcome: Literal["Published", "Rejected", "NothingWritten", "InfrastructureError"]
    reason: str
    message: str = ""
    pacts: Annotated[list[PublishedPact], Field(max_length=MAX_PACTS)] = Field(default_factory=list)


_VERIFIER: Final = TypeAdapter(VerifierMessage)
_PUBLISHER: Final = TypeAdapter(PublisherMessage)

_VERIFIER_EXITS: Final = {
    "Passed": names.EXIT_PASSED,
    "ContractBroken": names.EXIT_BROKEN,
    "NothingToVerify": names.EXIT_NOTHING,
    "InfrastructureError": names.EXIT_INFRASTRUCTURE,
}
_PUBLISHER_EXITS: Final = {
    "Published": names.EXIT_PASSED,
    "Rejected": names.EXIT_BROKEN,
    "NothingWritten": names.EXIT_NOTHING,
    "InfrastructureError": names.EXIT_INFRASTRUCTURE,
}


def verifier_message(end: Ended) -> VerifierMessage | None:
    """Reads the verifier's last word.

    Args:
        end: how its container ended.

    Returns:
        The message; None if it is none of ours or contradicts the exit code.
    """
    try:
        message = _VERIFIER.validate_json(end.message)
    except (ValidationError, RecursionError):
        return None
    return message if _VERIFIER_EXITS[message.outcome] == end.exit_code else None


def publisher_message(end: Ended) -> PublisherMessage | None:
    """Reads the publisher's last word; see `verifier_message`."""
    try:
        message = _PUBLISHER.validate_json(end.message)
    except (ValidationError, RecursionError):
        return None
    return message if _PUBLISHER_EXITS[message.outcome] == end.exit_code else None


def finished(verification: PactVerification) -> bool:
    """Whether the verdict of a run has been taken: then nothing changes it any more."""
    return verification.status.completion_time is not None


def wants_results(verification: PactVerification, job: JobFacts | None, pod: PodFacts | None) -> bool:
    """Whether the broker has to be asked before a verdict: the run has ended, and its results should be there.

    Args:
        verification: the run.
        job: its Job, None if there is none (yet, or any more).
        pod: the newest Pod of the Job.

    Returns:
        True once the verifier has ended with a verdict, and when Job or Pod went before their end was seen.
    """
    if finished(verification) or not verification.spec.publish_results:
        return False
    if job is None:
        return verification.status.job_name is not None
    end = last_word(job, pod, names.CONTAINER_VERIFIER)
    if end is not None:
        return end.exit_code in (names.EXIT_PASSED, names.EXIT_BROKEN)
    return job.complete or (pod is None and job.failed)


def last_word(job: JobFacts, pod: PodFacts | None, container: str) -> Ended | None:
    """How a container of ours ended, unless that is the end of an earlier try than the one that completed the Job."""
    end = pod.end_of(container) if pod else None
    return None if end and job.complete and end.exit_code != names.EXIT_PASSED else end


def verifier_reason(message: VerifierMessage | None) -> Reason:
    """The reason of a run that infrastructure spoilt, in the words of conditions."""
    if message is None:
        return Reason.JOB_FAILED
    ours = {"ResultNotPublished": Reason.RESULT_MISSING, "InvalidConfiguration": Reason.INVALID_SPEC}
    return ours.get(message.reason) or known(message.reason, Reason.JOB_FAILED)


@dataclass(frozen=True, slots=True)
class Stuck:
    """Why a Pod does not get on, and one sentence."""

    reason: Reason
    message: str


def known(reason: str, otherwise: Reason) -> Reason:
    """The reason of that name, or another one where a Job speaks of a reason that this operator does not know."""
    try:
        return Reason(reason)
    except ValueError:
        return otherwise


def stuck(pod: PodFacts | None) -> Stuck | None:
    """Tells what keeps a Pod from getting on, if anything does.

    Args:
        pod: the newest Pod of a Job.

    Returns:
        The trouble that is worth telling first; None while it gets on.
    """
    if pod is None:
        return None
    for waiting in pod.waiting:
        if waiting.reason in IMAGE_REASONS:
            return Stuck(
                Reason.IMAGE_PULL_FAILED,
                f"The image of container {waiting.container!r} cannot be had ({waiting.reason}): {_short(waiting)}",
            )
        if waiting.reason in START_REASONS:
            return Stuck(
                Reason.CONTAINER_CANNOT_START, f"Container {waiting.container!r} cannot start: {_short(waiting)}"
            )
        if waiting.reason == "CrashLoopBackOff":
            return Stuck(
                Reason.PROVIDER_NOT_READY,
                f"Container {waiting.container!r} keeps ending: {_last_words(pod, waiting.container)}",
            )
    if pod.unschedulable:
        return Stuck(Reason.UNSCHEDULABLE, f"No node takes the Pod: {pod.unschedulable}")
    return None


def tail(message: str, limit: int = 400) -> str:
    """The last words of a log: its last lines, joined, since the end of a log says how it ended."""
    text = " | ".join(line.strip() for line in message.splitlines() if line.strip())
    return text if len(text) <= limit else "…" + text[-limit:]


def _short(waiting: Waiting) -> str:
    return tail(waiting.message) or waiting.reason


def _last_words(pod: PodFacts, container: str) -> str:
    end = pod.end_of(container)
    return (tail(end.message) or f"exit code {end.exit_code}") if end else "see its log"
