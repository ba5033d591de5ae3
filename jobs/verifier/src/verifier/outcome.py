"""Facts of a run and what follows from them. Pure: no clock, no network, no files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from brokerclient.text import clean

_MESSAGE = 600


class Outcome(StrEnum):
    """How a run ended; each has its exit code."""

    PASSED = "Passed"
    CONTRACT_BROKEN = "ContractBroken"
    NOTHING_TO_VERIFY = "NothingToVerify"
    INFRASTRUCTURE_ERROR = "InfrastructureError"


EXIT_CODES = {
    Outcome.PASSED: 0,
    Outcome.CONTRACT_BROKEN: 1,
    Outcome.NOTHING_TO_VERIFY: 2,
    Outcome.INFRASTRUCTURE_ERROR: 75,  # EX_TEMPFAIL of sysexits.h: worth another try
}


class Reason(StrEnum):
    """Why, in one CamelCase word: a condition's reason."""

    PASSED = "Passed"
    CONTRACT_BROKEN = "ContractBroken"
    NOTHING_TO_VERIFY = "NothingToVerify"
    PROVIDER_NOT_READY = "ProviderNotReady"
    PROVIDER_STATES_UNAVAILABLE = "ProviderStatesUnavailable"
    BROKER_UNAVAILABLE = "BrokerUnavailable"
    BROKER_UNAUTHORIZED = "BrokerUnauthorized"
    PACT_NOT_FOUND = "PactNotFound"
    PACT_INVALID = "PactInvalid"
    RESULT_NOT_PUBLISHED = "ResultNotPublished"
    INVALID_CONFIGURATION = "InvalidConfiguration"


class PactOutcome(StrEnum):
    """How one pact fared. Error: not verified, nothing is known about the contract."""

    PASSED = "Passed"
    FAILED = "Failed"
    PENDING_FAILED = "PendingFailed"
    ERROR = "Error"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a run or a pact could not be carried through: nobody's contract is broken by it."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class FieldMismatch:
    """One difference between what a pact expects and what the provider gave.

    Attributes:
        attribute: `status`, `header`, `body`, `metadata`, or `error` when there was no answer to compare.
        identifier: Path of the body field (`$.id`) or name of the header; None for a status.
        summary: The difference in words, without the interaction: `body $.id is "x" (expected an integer like 1)`.
        expected: What the pact says, as text; None if there is nothing to show.
        actual: What the provider gave, as text; None if there is nothing to show.
        detail: The verifier core's own words.
    """

    attribute: str
    identifier: str | None
    summary: str
    expected: str | None
    actual: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class InteractionFailure:
    """An interaction that the provider did not fulfil."""

    description: str
    states: tuple[str, ...]
    mismatches: tuple[FieldMismatch, ...]
    pending: bool = False

    @property
    def summary(self) -> str:
        """Interaction and first mismatch in one line."""
        first = self.mismatches[0].summary if self.mismatches else "failed"
        return f"{self.description}: {first}"


@dataclass(frozen=True, slots=True)
class PactFacts:
    """What is known about one pact at the end of a run.

    Attributes:
        consumer: Pacticipant name of the consumer.
        content_sha: SHA of the pact's content.
        pending: The broker marked the pact as pending.
        interactions: Number of interactions and messages in it.
        failures: What failed; interactions that the consumer marked as pending do not count.
        problem: Why it was not verified; None if it was.
        recorded: Whether the broker was asked and holds this result; None if publishing was not asked for.
        record_problem: Why the result is not recorded.
        descriptions: Of each interaction and message, in the order of the pact.
    """

    consumer: str
    content_sha: str
    pending: bool
    interactions: int = 0
    failures: tuple[InteractionFailure, ...] = ()
    problem: Problem | None = None
    recorded: bool | None = None
    record_problem: str | None = None
    descriptions: tuple[str, ...] = ()

    @property
    def counted(self) -> tuple[InteractionFailure, ...]:
        """Failures of interactions that are not pending themselves."""
        return tuple(failure for failure in self.failures if not failure.pending)

    @property
    def outcome(self) -> PactOutcome:
        """How the pact fared."""
        if self.problem is not None:
            return PactOutcome.ERROR
        if not self.counted:
            return PactOutcome.PASSED
        return PactOutcome.PENDING_FAILED if self.pending else PactOutcome.FAILED


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a run."""

    outcome: Outcome
    reason: Reason
    message: str
    provider: str
    provider_version: str
    published: bool
    pacts: tuple[PactFacts, ...] = field(default=())
    duration: float = 0.0

    @property
    def exit_code(self) -> int:
        """Exit code of the process."""
        return EXIT_CODES[self.outcome]


def decide(
    provider: str,
    provider_version: str,
    pacts: Sequence[PactFacts],
    *,
    problem: Problem | None = None,
    duration: float = 0.0,
) -> Verdict:
    """Decide how a run ended.

    In this order: a result that the broker does not hold (a verdict nobody can look up is none), a broken contract
    (known, whatever else went wrong), anything that kept a pact from being verified, nothing to verify, passed.

    Args:
        provider: Pacticipant name of the provider.
        provider_version: Version that was verified.
        pacts: One entry per pact that was to be verified.
        problem: What ended the run early, if something did.
        duration: Seconds.
    """
    verified = [pact for pact in pacts if pact.outcome is not PactOutcome.ERROR]
    broken = [pact for pact in verified if pact.outcome is PactOutcome.FAILED]
    who = f"{provider} {provider_version}"
    outcome, reason, message = _decide(who, pacts, verified, broken, problem)
    return Verdict(
        outcome=outcome,
        reason=reason,
        message=clean(message, _MESSAGE),
        provider=provider,
        provider_version=provider_version,
        published=bool(verified) and all(pact.recorded is True for pact in verified),
        pacts=tuple(pacts),
        duration=duration,
    )


def _decide(
    who: str,
    pacts: Sequence[PactFacts],
    verified: Sequence[PactFacts],
    broken: Sequence[PactFacts],
    problem: Problem | None,
) -> tuple[Outcome, Reason, str]:
    unrecorded = [pact for pact in verified if pact.recorded is False]
    not_verified = [pact for pact in pacts if pact.problem is not None]
    if unrecorded:
        first = unrecorded[0]
        text = f"The broker does not hold the result of {who} with {_consumers(unrecorded)}"
        text += f": {first.record_problem}" if first.record_problem else ""
        text += f" The contract with {_consumers(broken)} is broken." if broken else ""
        return Outcome.INFRASTRUCTURE_ERROR, Reason.RESULT_NOT_PUBLISHED, text
    if broken:
        text = f"{who} breaks its contract with {_consumers(broken)}: {broken[0].counted[0].summary}"
        if not_verified:
            text = f"{clean(text, _MESSAGE - 120)}; not verified: {_consumers(not_verified)}"
        return Outcome.CONTRACT_BROKEN, Reason.CONTRACT_BROKEN, text
    if problem is None and not_verified:
        problem = not_verified[0].problem
    if problem is not None:
        return Outcome.INFRASTRUCTURE_ERROR, problem.reason, problem.message
    interactions = sum(pact.interactions for pact in pacts)
    if not pacts:
        text = f"The broker has no pact for {who} to verify."
        return Outcome.NOTHING_TO_VERIFY, Reason.NOTHING_TO_VERIFY, text
    if interactions == 0:
        text = f"The pacts of {_consumers(pacts)} with {who} hold no interactions."
        return Outcome.NOTHING_TO_VERIFY, Reason.NOTHING_TO_VERIFY, text
    pending = [pact for pact in pacts if pact.outcome is PactOutcome.PENDING_FAILED]
    if len(pending) == len(pacts):
        text = f"{who} breaks no contract that counts: the pact of {_consumers(pending)} failed and is pending"
        text += f" ({pending[0].counted[0].summary})."
        return Outcome.PASSED, Reason.PASSED, text
    kept = [pact for pact in pacts if pact.outcome is PactOutcome.PASSED]
    noun = "interaction" if sum(pact.interactions for pact in kept) == 1 else "interactions"
    text = f"{who} keeps its contract with {_consumers(kept)} ({sum(p.interactions for p in kept)} {noun})"
    text += f"; the pact of {_consumers(pending)} failed, which does not count while it is pending" if pending else ""
    return Outcome.PASSED, Reason.PASSED, text + "."


def mark_not_verified(pacts: Iterable[PactFacts], problem: Problem) -> list[PactFacts]:
    """Mark pacts that a run did not get to."""
    return [replace(pact, problem=problem) for pact in pacts]


def _consumers(pacts: Sequence[PactFacts]) -> str:
    names = list(dict.fromkeys(pact.consumer for pact in pacts))
    if len(names) <= 3:
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"{', '.join(names[:2])} and {len(names) - 2} more"
