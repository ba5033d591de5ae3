"""The gate: one answer to "may this version of this pacticipant go to this environment?".

`decide` takes what the broker said and what the PactProviders of the namespace know, and says one of five verdicts with
a reason. It is stricter than the broker's `can-i-deploy`: a yes without rows is no yes, and each version of a provider
that is deployed or released in the environment needs a result of its own, since the broker lets one hide another.

Broken goes before everything else: waiting does not mend it. What cannot be told is refused, unless the PactBroker says
otherwise.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any, Final, Literal

from pact_operator.api.reasons import ADVICE, Reason
from pact_operator.api.v1alpha1 import GateSpec
from pact_operator.core.conditions import Cond, clean
from pact_operator.core.facts import GateFacts, GateRow, Matrix, Obstacle, Question, Verifier
from pact_operator.core.versions import MAX_CANDIDATES

KIND: Final = "Deployable"
"""Type of the condition on PactConsumer and PactProvider."""
MAX_SHOWN: Final = 100
"""Contracts that an answer lists, those that matter first."""
_MAX_NAME: Final = 256


class Verdict(StrEnum):
    """What the gate finds."""

    ALLOWED = "Allowed"
    BROKEN = "Broken"
    PENDING = "Pending"
    NOTHING_TO_CHECK = "NothingToCheck"
    CANNOT_TELL = "CannotTell"


State = Literal["Verified", "Failed", "Owed", "Running", "Blocked", "Missing", "NotDeployed"]
"""Of a contract: `Owed`, `Running` and `Blocked` have no result yet and a PactProvider that knows of it; `Missing` has
neither; `NotDeployed` is a consumer's contract with a provider that is not in the environment."""

_ORDER: Final[Mapping[State, int]] = {
    "Failed": 0,
    "NotDeployed": 1,
    "Blocked": 2,
    "Missing": 3,
    "Owed": 4,
    "Running": 5,
    "Verified": 6,
}


@dataclass(frozen=True, slots=True)
class GateContract:
    """One contract that the decision rests on."""

    consumer: str
    consumer_version: str
    provider: str
    provider_version: str | None
    state: State
    ignored: bool = False
    message: str = ""
    result_url: str = ""

    def as_json(self) -> dict[str, Any]:
        """The contract as an answer lists it."""
        return {
            "consumer": clean(self.consumer, _MAX_NAME),
            "consumerVersion": clean(self.consumer_version, _MAX_NAME),
            "provider": clean(self.provider, _MAX_NAME),
            "providerVersion": None if self.provider_version is None else clean(self.provider_version, _MAX_NAME),
            "state": self.state,
            "ignored": self.ignored,
            "message": clean(self.message),
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's answer."""

    question: Question
    verdict: Verdict
    reason: Reason
    message: str
    next_step: str
    granted: bool
    """Whether the version may go, mode aside."""
    shadow: bool = False
    contracts: tuple[GateContract, ...] = ()

    @property
    def allowed(self) -> bool:
        """What whoever asks has to obey; in Shadow mode all pass."""
        return self.granted or self.shadow

    @property
    def retry(self) -> bool:
        """Whether waiting can help."""
        return not self.allowed and ADVICE[self.reason].retried

    def as_json(self) -> dict[str, Any]:
        """The answer as HTTP and the command line give it."""
        return {
            "allowed": self.allowed,
            "verdict": str(self.verdict),
            "reason": str(self.reason),
            "shadow": self.shadow,
            "message": self.message,
            "nextStep": self.next_step,
            "retry": self.retry,
            "pacticipant": clean(self.question.pacticipant),
            "version": clean(self.question.version),
            "environment": clean(self.question.environment),
            "contracts": [contract.as_json() for contract in self.contracts[:MAX_SHOWN]],
        }

    def condition(self) -> Cond:
        """The condition `Deployable`: True only where the gate lets pass, False where somebody has to act first."""
        if self.allowed:
            return Cond(KIND, "True", self.reason, self.message, guides=False)
        if self.verdict is Verdict.BROKEN or self.reason is Reason.COUNTERPART_NOT_DEPLOYED:
            return Cond(KIND, "False", self.reason, self.message)
        return Cond(KIND, "Unknown", self.reason, self.message, guides=False)


@dataclass(frozen=True, slots=True)
class _Finding:
    verdict: Verdict
    reason: Reason
    message: str
    next_step: str = ""


def decide(facts: GateFacts) -> Decision:
    """Answers the question.

    Args:
        facts: see `GateFacts`.

    Returns:
        The decision; there always is one.
    """
    policy, matrix = facts.policy, facts.matrix
    contracts: tuple[GateContract, ...] = ()
    if isinstance(matrix, Obstacle):
        found = _Finding(Verdict.CANNOT_TELL, matrix.reason, matrix.message)
    else:
        contracts = tuple(sorted(_contracts(facts, matrix), key=_importance))
        found = _finding(facts, matrix, contracts)
    granted, told = _granted(found, policy)
    shadow = policy.mode == "Shadow"
    if shadow and not granted:
        told = f"Let pass in Shadow mode, else refused: {told}"
    return Decision(
        question=facts.question,
        verdict=found.verdict,
        reason=found.reason,
        message=clean(told),
        next_step=found.next_step or ADVICE[found.reason].next_step,
        granted=granted,
        shadow=shadow,
        contracts=contracts,
    )


def involved(question: Question, matrix: Matrix | Obstacle) -> set[str]:
    """Pacticipants whose PactProviders can tell something that the decision needs: none where all is well."""
    if isinstance(matrix, Obstacle):
        return set()
    named = {row.provider for row in matrix.rows if row.success is not True}
    # A consumer's provider may have versions in the environment that no row speaks of.
    named |= {row.provider for row in matrix.rows if row.consumer == question.pacticipant}
    return named | (set() if named or (matrix.rows and matrix.deployable) else {question.pacticipant})


def ignoring_ends_in(policy: GateSpec, now: float) -> float | None:
    """Seconds until the next pacticipant is no longer ignored; None if none is ignored."""
    ends = [end - now for entry in policy.ignore if (end := _end_of(entry.until)) > now]
    return min(ends, default=None)


def ignored_now(policy: GateSpec, now: float) -> tuple[str, ...]:
    """Pacticipants that are ignored at a moment, each once."""
    return tuple(dict.fromkeys(entry.pacticipant for entry in policy.ignore if _end_of(entry.until) > now))


def _end_of(day: str) -> float:
    """The first moment after a day (UTC); 0.0 for a day that does not exist: then nothing is ignored."""
    try:
        return datetime.combine(date.fromisoformat(day) + timedelta(days=1), time(), UTC).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _granted(found: _Finding, policy: GateSpec) -> tuple[bool, str]:
    if found.verdict is Verdict.ALLOWED:
        return True, found.message
    for verdict, field, choice in (
        (Verdict.NOTHING_TO_CHECK, "whenNothingToCheck", policy.when_nothing_to_check),
        (Verdict.CANNOT_TELL, "whenCannotTell", policy.when_cannot_tell),
    ):
        if found.verdict is verdict and choice == "Allow":
            return True, f"{found.message} It may go, as spec.gate.{field} of the PactBroker says."
    return False, found.message


def _finding(facts: GateFacts, matrix: Matrix, contracts: tuple[GateContract, ...]) -> _Finding:
    question = facts.question
    counted = [contract for contract in contracts if not contract.ignored]
    by_state = Counter(contract.state for contract in counted)
    first = counted[0] if counted else None
    more = f" ({len(counted) - by_state['Verified'] - 1} more)" if len(counted) - by_state["Verified"] > 1 else ""
    if first and first.state == "Failed":
        more = f" ({by_state['Failed'] - 1} more)" if by_state["Failed"] > 1 else ""
        why = first.message or "see the result in the broker"
        return _Finding(Verdict.BROKEN, Reason.CONTRACT_BROKEN, f"{_other_side(question, first)}: {why}{more}")
    looked_after = any(question.version in verifier.versions for verifier in _own(facts))
    asked_for = any(question.version in verifier.asked for verifier in _own(facts))
    known = _known(matrix)
    if not known and (not (looked_after or asked_for) or (facts.publishes and not contracts)):
        said = clean(matrix.reason, 300)
        told = f"The broker does not know {question.pacticipant} {question.version}"
        return _Finding(
            Verdict.CANNOT_TELL,
            Reason.VERSION_NOT_IN_BROKER,
            f"{told}: {said}" if said else f"{told}.",
            _have_it_verified(facts),
        )
    if first and first.state == "NotDeployed":
        told = f"{first.provider} is neither deployed nor released in {question.environment}{more}."
        return _Finding(Verdict.PENDING, Reason.COUNTERPART_NOT_DEPLOYED, told)
    if first and first.state != "Verified":
        told = f"{_other_side(question, first)} has no result yet: {first.message}{more}"
        return _Finding(Verdict.PENDING, Reason.VERIFICATION_PENDING, told, _wait_or(facts, first))
    if not contracts and not known and not looked_after:
        told = f"{question.pacticipant} {question.version} is about to be looked at."
        return _Finding(Verdict.PENDING, Reason.VERIFICATION_PENDING, told)
    if not contracts:
        told = f"No contract of {question.pacticipant} {question.version} concerns {question.environment}"
        return _Finding(Verdict.NOTHING_TO_CHECK, Reason.NOTHING_TO_CHECK, f"{told}: nothing was checked.")
    if matrix.deployable is not True:
        # Whatever the broker objects to that its rows do not show.
        told = clean(matrix.reason, 500) or "The broker does not say yes, and not why."
        return _Finding(Verdict.PENDING, Reason.VERIFICATION_PENDING, told)
    return _Finding(Verdict.ALLOWED, Reason.ALLOWED, _holds(question, len(counted), len(contracts) - len(counted)))


def _known(matrix: Matrix) -> bool:
    """Whether the broker knows the version: if not, it says no without a row that has failed."""
    return matrix.deployable is not False or any(row.success is False for row in matrix.rows)


def _holds(question: Question, counted: int, ignored: int) -> str:
    who = f"{question.pacticipant} {question.version}"
    note = f"; {ignored} {'is' if ignored == 1 else 'are'} ignored" if ignored else ""
    if not counted:
        which = "The one contract" if ignored == 1 else f"All {ignored} contracts"
        return f"{which} of {who} in {question.environment} {'is' if ignored == 1 else 'are'} ignored."
    which = "its one contract" if counted == 1 else f"all {counted} contracts"
    return f"{who} keeps {which} in {question.environment}{note}."


def _other_side(question: Question, contract: GateContract) -> str:
    if contract.provider == question.pacticipant:
        return f"{contract.consumer} {contract.consumer_version} in {question.environment}"
    return f"{contract.provider} {contract.provider_version} in {question.environment}"


def _importance(contract: GateContract) -> tuple[bool, int, str, str, str, str]:
    return (
        contract.ignored,
        _ORDER[contract.state],
        contract.consumer,
        contract.consumer_version,
        contract.provider,
        contract.provider_version or "",
    )


def _contracts(facts: GateFacts, matrix: Matrix) -> Iterable[GateContract]:
    """The contracts that count: one per row, and one per provider version in the environment that has no row."""
    question = facts.question
    ignored = ignored_now(facts.policy, facts.now)
    there = matrix.in_environment or {}
    seen: dict[tuple[str, str, str, str | None], GateContract] = {}
    providers: dict[str, set[str]] = {}
    for row in matrix.rows:
        if row.provider == question.pacticipant:
            # Its consumers in the environment; without a result the row does not name the version that is asked about.
            contract = _contract(facts, replace(row, provider_version=row.provider_version or question.version))
        elif row.consumer == question.pacticipant:
            held = providers.setdefault(row.provider, set())
            if row.provider_version is None:
                continue
            held.add(row.provider_version)
            contract = _contract(facts, row)
        else:
            continue
        key = (contract.consumer, contract.consumer_version, contract.provider, contract.provider_version)
        # A pair that is told of twice is as good as its worst.
        if key not in seen or _ORDER[contract.state] < _ORDER[seen[key].state]:
            seen[key] = contract
    for provider, held in providers.items():
        missing = [version for version in there.get(provider, ()) if version not in held]
        for version in missing:
            row = GateRow(question.pacticipant, question.version, provider, version, None)
            seen[row.consumer, row.consumer_version, provider, version] = _contract(facts, row)
        if not held and not missing:
            bare = GateContract(question.pacticipant, question.version, provider, None, "NotDeployed")
            seen[bare.consumer, bare.consumer_version, provider, None] = bare
    for contract in seen.values():
        other = contract.consumer if contract.provider == question.pacticipant else contract.provider
        yield replace(contract, ignored=other in ignored)


def _contract(facts: GateFacts, row: GateRow) -> GateContract:
    state, message = _state(facts, row)
    return GateContract(
        row.consumer,
        row.consumer_version,
        row.provider,
        row.provider_version,
        state,
        message=message,
        result_url=row.result_url,
    )


def _state(facts: GateFacts, row: GateRow) -> tuple[State, str]:
    if row.success is True:
        return "Verified", ""
    verifiers = [verifier for verifier in facts.verifiers if verifier.pacticipant == row.provider]
    told = [
        contract
        for verifier in verifiers
        for contract in verifier.contracts
        if (contract.consumer, contract.provider_version) == (row.consumer, row.provider_version)
    ]
    if row.success is False:
        own = next((c.message for c in told if c.content_sha == row.content_sha and c.state.endswith("Failed")), "")
        return "Failed", own or (facts.mismatches or {}).get(row.result_url, "")
    waiting = [contract for contract in told if contract.state in ("Owed", "Running", "Blocked")]
    for state in ("Blocked", "Running", "Owed"):
        for contract in waiting:
            if contract.state == state:
                return state, f"{contract.reason}: {contract.message}" if state == "Blocked" else contract.message
    return _missing(row, verifiers, bool(told))


def _missing(row: GateRow, verifiers: Iterable[Verifier], told: bool) -> tuple[State, str]:
    """Why nobody is at work on a result, as far as the PactProviders can tell."""
    for verifier in verifiers:
        where = f"PactProvider {verifier.name!r}"
        if row.provider_version in verifier.versions:
            if told:
                return "Missing", f"{where} has verified other contents of {row.consumer}, and not this one."
            return "Missing", f"{where} has no contract of {row.consumer} in the scope of its selectors."
        if row.provider_version in verifier.asked:
            return "Owed", f"{where} is about to look at it."
        if not verifier.any_version:
            return "Missing", f"{where} verifies only the version that runs, as no image of it names {{version}}."
        return "Missing", f"{where} does not look after {row.provider_version} yet."
    return "Missing", f"no PactProvider of this namespace verifies {row.provider}."


def _own(facts: GateFacts) -> list[Verifier]:
    return [verifier for verifier in facts.verifiers if verifier.pacticipant == facts.question.pacticipant]


_ASK: Final = (
    "Ask with verify=true to have the version verified before it is rolled out, or publish its results. A PactProvider "
    f"takes {MAX_CANDIDATES} such versions at a time: if it has as many, ask again."
)


def _have_it_verified(facts: GateFacts) -> str:
    """The next step for a version that the broker does not know; empty for the usual one."""
    return _ASK if any(verifier.any_version for verifier in _own(facts)) else ""


def _wait_or(facts: GateFacts, contract: GateContract) -> str:
    """The next step for a contract without a result; empty for the usual one, which is to wait."""
    if contract.state == "Blocked":
        return ADVICE[_reason_of(contract.message)].next_step
    if contract.state != "Missing":
        return ""
    if contract.provider == facts.question.pacticipant and any(
        verifier.any_version and contract.provider_version not in verifier.versions for verifier in _own(facts)
    ):
        return _ASK
    return "Have it verified and the result published, or widen spec.selectors of the PactProvider that should."


def _reason_of(message: str) -> Reason:
    try:
        return Reason(message.split(":", 1)[0])
    except ValueError:
        return Reason.VERIFICATION_PENDING
