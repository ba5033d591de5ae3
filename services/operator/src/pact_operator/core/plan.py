"""The loop: published -> owed -> run -> confirmed -> verdict.

This page reads as the specification of the operator. Two functions hold it:

`plan_provider` decides what is **owed** - contracts in scope, times the provider versions that matter, minus what has
a result - and asks for one PactVerification for all that waits at the same moment.

`plan_verification` **runs** one: a Job. When its verifier has ended, nothing counts until the results have been read
back from the broker (**confirmed**); then the **verdict** is taken, once, with a reason that says who must act.

Both are total and idempotent: applied to the state that they made, they plan nothing.
"""

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from pydantic import ValidationError

from pact_operator.api import names
from pact_operator.api.reasons import ADVICE, Reason
from pact_operator.api.v1alpha1 import (
    Condition,
    ContractStatus,
    PactBroker,
    PactBrokerStatus,
    PactConsumerStatus,
    PactProvider,
    PactProviderStatus,
    PactResult,
    PactVerification,
    PactVerificationStatus,
    Status,
)
from pact_operator.core import places
from pact_operator.core.actions import (
    Action,
    CreateJob,
    CreateVerification,
    DeleteVerification,
    Look,
    Plan,
)
from pact_operator.core.conditions import MAX_MESSAGE, Cond, acting, clean, events, status_of, tidy, within
from pact_operator.core.facts import (
    Contract,
    Failure,
    InLine,
    ProviderFacts,
    Result,
    Trouble,
    VerificationFacts,
    VersionFacts,
)
from pact_operator.core.gate import decide, ignoring_ends_in
from pact_operator.core.jobspec import owner_reference, verifier_job
from pact_operator.core.main_branch import AGAIN_SECONDS, plan_main_branch
from pact_operator.core.naming import child_name, digest, label_value
from pact_operator.core.outcome import Stuck, finished, known, last_word, stuck, tail, verifier_message, verifier_reason
from pact_operator.core.plan_broker import plan_broker
from pact_operator.core.plan_consumer import plan_consumer
from pact_operator.core.record import with_record
from pact_operator.core.times import PODLESS_SECONDS, UNFINISHED_SECONDS, backoff, parse, rfc3339
from pact_operator.core.versions import Unresolved, resolve

__all__ = ["plan_broker", "plan_consumer", "plan_invalid", "plan_provider", "plan_verification"]

CONFIRM_SECONDS: Final = 30.0
"""How long the broker may take to show a result that the verifier says it has published."""
MAX_PACTS_PER_RUN: Final = 100
MAX_PACTS_BYTES: Final = 100 * 1024
"""They are one environment variable of the verifier, and Linux takes none of 128 KiB (`MAX_ARG_STRLEN`)."""
MAX_TEXT: Final = 1024
MAX_LINK: Final = 4096
"""Both as the schema of a PactVerification has them."""
MAX_CONTRACTS: Final = 500
OWED: Final = ("Owed", "Running", "Blocked")
"""States of contracts that have no result yet."""
KEEP_PASSED: Final = 3
KEEP_OTHERS: Final = 5


def broker_trouble(broker: PactBroker | None, name: str) -> tuple[Reason, str] | None:
    """Why a broker cannot be asked at all, if so."""
    if broker is None:
        return Reason.BROKER_NOT_FOUND, f"There is no PactBroker {name!r} in this namespace; create it."
    if broker.spec.suspend:
        return Reason.SUSPENDED, f"PactBroker {name!r} is suspended; set its spec.suspend to false to go on."
    return None


# --- owed ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One contract of one provider version, and where it stands."""

    contract: Contract
    version: str
    state: Literal["Owed", "Running", "Verified", "Failed", "PendingFailed", "Blocked"]
    reason: Reason
    message: str = ""
    run: PactVerification | None = None
    result_url: str = ""
    due_at: float | None = None
    """When it may be run again; None: no time will bring that about."""
    current: bool = True
    """Whether it speaks of the object's own version."""
    candidate: bool = False
    """Whether it speaks of a version that was only asked about: it is verified and shown, and breaks nothing."""


def plan_provider(facts: ProviderFacts) -> Plan:
    """Decides what is owed for one PactProvider, how its promise stands, and what to record as deployed.

    Args:
        facts: see `ProviderFacts`.

    Returns:
        The runs to create and to remove, what to record, and the status.
    """
    return with_record(_promise(facts), facts)


def _promise(facts: ProviderFacts) -> Plan:
    provider = facts.provider
    if provider.metadata.deletion_timestamp:
        return Plan()
    version = resolve(provider.spec.version, facts.workload)
    shown = version if isinstance(version, str) else None
    if provider.spec.suspend:
        return _held(facts, shown, Reason.SUSPENDED, "Suspended: set spec.suspend to false to go on.")
    if trouble := broker_trouble(facts.broker, provider.spec.broker_ref.name):
        return _held(facts, shown, *trouble)
    if isinstance(version, Unresolved):
        return _held(facts, None, version.reason, version.message)
    if isinstance(facts.versions, Failure) or facts.versions is None:
        failure = facts.versions or Failure(Trouble.UNAVAILABLE, "The broker has not been asked yet.")
        return _held(facts, shown, known(failure.trouble, Reason.BROKER_UNAVAILABLE), failure.message)

    request = _request(provider)
    # Each version once: the status is a list map, and one that the API server refuses would never be written.
    matter = {vf.version: vf for vf in facts.versions}
    rows = [row for vf in matter.values() for row in _rows(vf, facts.verifications, request)]
    return _promised(facts, version, tuple(matter.values()), rows, _start(facts, matter, rows))


def _promised(
    facts: ProviderFacts, version: str, matter: Sequence[VersionFacts], rows: list[Row], runs: "Runs"
) -> Plan:
    """What is started, and how the promise stands meanwhile."""
    provider = facts.provider
    rows = [_held_back(row, runs.waits_for) if row.version in runs.held_back else row for row in rows]
    branch, write_branch = plan_main_branch(
        provider.spec.main_branch, provider.spec.pacticipant, facts.main_branch, facts.failed
    )
    # That a candidate is broken is for those to hear who asked about it.
    own = [row for row in rows if not row.candidate]
    stated = (
        _ready(facts, version, own, runs.waits_for),
        Cond("Synced", "True", Reason.IN_SYNC, "The broker was asked."),
        *branch,
    )
    contracts = _shown_contracts(facts, rows)
    deployable = _deployable(facts, matter, contracts)
    status = _provider_status(facts, version, own, contracts, matter, (*stated, *deployable))
    if runs.queued_since:
        status["queuedSince"] = runs.queued_since
    dues = [row.due_at - facts.now for row in rows if row.due_at is not None and row.due_at > facts.now]
    # Nothing tells of a main branch but a look: a provider that is at rest would not be looked at for long.
    ask_again = (
        AGAIN_SECONDS if write_branch else UNFINISHED_SECONDS if isinstance(facts.main_branch, Failure) else None
    )
    dues += [again_in for again_in in (runs.again_in, ask_again) if again_in is not None]
    dues += [vf.candidate_until - facts.now for vf in matter if vf.candidate_until is not None]
    if facts.gate and (ends := ignoring_ends_in(facts.gate.policy, facts.now)) is not None:
        dues.append(ends)
    outlived = [DeleteVerification(run.metadata.name) for run in _outlived(facts.verifications, rows)]
    return Plan(
        actions=(*write_branch, *runs.actions, *outlived, *_concerned(facts, contracts)),
        status=status,
        events=events(provider.status.conditions, stated),
        requeue_after=min(dues, default=None),
    )


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs to begin and to end, and what has to wait although it is due."""

    actions: tuple[Action, ...]
    held_back: frozenset[str]
    """Versions that have to wait."""
    waits_for: str = ""
    queued_since: str | None = None
    """Since when it waits for a place that others have; None: it does not."""
    again_in: float | None = None


def _start(facts: ProviderFacts, matter: Collection[str], rows: list[Row]) -> Runs:
    """One run for each version that something waits for, as far as there is room."""
    active = [run for run in facts.verifications if not finished(run)]
    superseded = [run for run in active if run.spec.provider_version not in matter]
    own = facts.provider.spec.run.max_concurrent - (len(active) - len(superseded))
    turn = _turn(facts, frozenset(run.metadata.name for run in superseded))
    free = own if turn is None else min(own, turn.granted)

    actions: list[Action] = [DeleteVerification(run.metadata.name) for run in superseded]
    started, held_back = 0, set()
    for version in matter:
        waiting = [row for row in rows if row.version == version and _waits(row, facts.now)]
        if waiting and started < free:
            actions.append(CreateVerification(_run_of(facts, version, waiting)))
            started += 1
        elif waiting:
            held_back.add(version)
    if not held_back:
        return Runs(tuple(actions), frozenset())
    if turn is None or own <= started or "CreateVerification" in facts.failed:
        why = "waiting until a run of its own ends (spec.run.maxConcurrent)"
        return Runs(tuple(actions), frozenset(held_back), why)
    # Who was served goes to the end of the line.
    since = None if started else tidy(facts.provider.status.queued_since)
    return Runs(tuple(actions), frozenset(held_back), turn.message, since or rfc3339(facts.now), turn.again_in)


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a PactProvider stands where all of its broker share the places for runs."""

    granted: int
    again_in: float | None
    message: str


def _turn(facts: ProviderFacts, leaving: frozenset[str]) -> Turn | None:
    if facts.places is None:
        return None
    me = InLine(parse(facts.provider.status.queued_since) or facts.now, facts.provider.metadata.name)
    name = facts.provider.spec.broker_ref.name
    return Turn(
        places.granted(facts.places, me, facts.now, leaving),
        places.look_again_in(facts.places, me, facts.now),
        f"waiting for {'the one place' if facts.places.limit == 1 else f'one of {facts.places.limit} places'} that "
        f"PactBroker {name!r} has for runs (spec.maxConcurrentRuns)",
    )


def _held_back(row: Row, why: str) -> Row:
    return replace(row, message=f"No verification has started yet: {why}.") if row.state == "Owed" else row


def _deployable(
    facts: ProviderFacts, matter: Iterable[VersionFacts], contracts: Iterable[ContractStatus]
) -> tuple[Cond, ...]:
    """The gate's decision on the object's own version; this look knows better than its last status how runs stand."""
    if facts.gate is None:
        return ()
    name = facts.provider.metadata.name
    verifiers = tuple(
        replace(verifier, versions=tuple(vf.version for vf in matter), contracts=tuple(contracts))
        if verifier.name == name
        else verifier
        for verifier in facts.gate.verifiers
    )
    return (decide(replace(facts.gate, verifiers=verifiers)).condition(),)


def _concerned(facts: ProviderFacts, contracts: Iterable[ContractStatus]) -> list[Look]:
    """Looks at the PactConsumers for which something has changed: whether they are deployable rests on it."""
    if not facts.consumers:
        return []
    before = {_settled(contract) for contract in facts.provider.status.contracts}
    after = {_settled(contract) for contract in contracts}
    changed = {consumer for consumer, *_ in before ^ after}
    return [Look(key) for pacticipant, key in facts.consumers if pacticipant in changed]


def _settled(contract: ContractStatus) -> tuple[str, str, str, str]:
    state = "Owed" if contract.state == "Running" else contract.state
    return contract.consumer, contract.provider_version, contract.content_sha, state


def _request(provider: PactProvider) -> str | None:
    """What a person's request to run again is called: both ways of asking count, a new value of either is new."""
    asked = (provider.spec.rerun, provider.metadata.annotations.get(names.ANNOTATION_REQUESTED))
    return digest(*asked) if any(asked) else None


def _rows(vf: VersionFacts, runs: Iterable[PactVerification], request: str | None) -> list[Row]:
    newest: dict[tuple[str, str], PactVerification] = {}
    answered: set[tuple[str, str]] = set()
    for run in sorted(runs, key=lambda run: (parse(run.metadata.creation_timestamp), run.spec.attempt)):
        if run.spec.provider_version == vf.version:
            pairs = [(pact.consumer, pact.content_sha) for pact in run.spec.pacts or ()]
            newest.update(dict.fromkeys(pairs, run))
            if run.spec.request == request:
                answered.update(pairs)
    rows = []
    for contract in _distinct(vf.contracts):
        key = (contract.consumer, contract.content_sha)
        row = _row(contract, vf.version, vf.results.get(key), newest.get(key))
        given_up = row.state == "Blocked" and row.run is not None and finished(row.run) and row.due_at is None
        if request and key not in answered and (row.state in ("Failed", "PendingFailed") or given_up):
            # Broken stays broken until content or version changes - or a person asks.
            row = replace(row, due_at=0.0)
        rows.append(replace(row, current=vf.current, candidate=vf.candidate_until is not None))
    return rows


def _distinct(contracts: Iterable[Contract]) -> Iterable[Contract]:
    """Each content once: the broker may show one twice, a list map in a status must not."""
    return {(contract.consumer, contract.content_sha): contract for contract in contracts}.values()


def _link(contract: Contract) -> str:
    """The link to verify through, without what only says why it was selected where that is too long to be kept."""
    url = contract.url
    return url if len(url) <= MAX_LINK else re.sub(r"/metadata/[^/?#]*$", "", url)


def _unfit(contract: Contract) -> str:
    """Why a contract cannot be put into a PactVerification; empty if it can.

    One that the API server refuses would take all others down that wait for the same run.
    """
    for what, text in (
        ("The name of its consumer", contract.consumer),
        ("The id of its content", contract.content_sha),
    ):
        if not 0 < len(text) <= MAX_TEXT:
            return f"{what} has {len(text)} characters, and may have 1 to {MAX_TEXT}: publish it under another name."
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
            return f"{what} holds control characters: publish it under another name."
    link = _link(contract)
    if len(link) > MAX_LINK or not link.startswith(("http://", "https://")) or not link.isprintable():
        return f"Its link in the broker is no URL of at most {MAX_LINK} characters: publish it under a shorter name."
    return ""


def _row(contract: Contract, version: str, result: Result | None, run: PactVerification | None) -> Row:
    if result and result.success:
        return Row(contract, version, "Verified", Reason.PASSED, run=run, result_url=result.url)
    if result:
        state: Literal["PendingFailed", "Failed"] = "PendingFailed" if contract.pending else "Failed"
        # The verifier's own words are made for people; the broker's are the core's.
        message = (_mismatch(contract, run) if run else "") or result.mismatch
        return Row(contract, version, state, Reason.CONTRACT_BROKEN, message, run, result.url)
    if why := _unfit(contract):
        return Row(contract, version, "Blocked", Reason.PACT_INVALID, why, run)
    if run is None:
        return Row(contract, version, "Owed", Reason.VERIFICATION_PENDING, "No verification has started yet.")
    verdict = _condition(run.status.conditions, "Succeeded")
    reason = known(verdict.reason, Reason.PENDING) if verdict else Reason.PENDING
    message = verdict.message if verdict else "The run has not been looked at yet."
    if not finished(run):
        going = reason in (Reason.PENDING, Reason.RUNNING, Reason.CONFIRMING, Reason.RETRYING)
        return Row(contract, version, "Running" if going else "Blocked", reason, message, run)
    if reason in (Reason.PASSED, Reason.CONTRACT_BROKEN):
        # The run was confirmed once, so the broker has lost the result since: it is owed again.
        reason, message = Reason.RESULT_MISSING, "The broker no longer holds the result that was read back from it."
    if reason is Reason.PACT_INVALID and len(run.spec.pacts or ()) == 1:
        # It was this very content, which never changes: only a person may know of a reason to try again.
        return Row(contract, version, "Blocked", reason, message, run)
    due = parse(run.status.completion_time) + backoff(run.spec.attempt)
    return Row(contract, version, "Blocked", reason, message, run, due_at=due)


def _mismatch(contract: Contract, run: PactVerification) -> str:
    return next(
        (
            pact.mismatch
            for pact in run.status.pacts
            if (pact.consumer, pact.content_sha) == (contract.consumer, contract.content_sha)
        ),
        "",
    )


def _waits(row: Row, now: float) -> bool:
    return row.state == "Owed" or (row.due_at is not None and row.due_at <= now)


def _run_of(facts: ProviderFacts, version: str, waiting: list[Row]) -> Mapping[str, Any]:
    """One PactVerification for all that waits at the same moment; the same work always gets the same name."""
    meta, spec = facts.provider.metadata, facts.provider.spec
    rows = _batch(_in_turn(waiting))
    request = _request(facts.provider)
    again = [row.run for row in rows if row.run and row.run.spec.request == request]
    attempt = max((run.spec.attempt + 1 for run in again), default=0)
    work = [(row.contract.consumer, row.contract.content_sha) for row in rows]
    run_spec = {
        "brokerRef": {"name": spec.broker_ref.name},
        "pacticipant": spec.pacticipant,
        "providerVersion": version,
        "target": spec.target.model_dump(by_alias=True, exclude_none=True),
        "pacts": [_pact(row.contract) for row in rows],
        "publishResults": True,
        "attempt": attempt,
        "run": spec.run.model_dump(by_alias=True, exclude_none=True),
    }
    if request:
        run_spec["request"] = request
    if spec.branch:
        run_spec["providerBranch"] = spec.branch
    if spec.provider_states:
        run_spec["providerStates"] = spec.provider_states.model_dump(by_alias=True)
    if spec.message_path:
        run_spec["messagePath"] = spec.message_path
    if spec.junit:
        run_spec["junit"] = spec.junit.model_dump(by_alias=True)
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.VERIFICATION,
        "metadata": {
            "name": child_name(meta.name, digest(meta.uid, version, work, attempt, request)),
            "namespace": meta.namespace,
            "labels": {
                names.LABEL_MANAGED_BY: names.MANAGED_BY,
                names.LABEL_PROVIDER: label_value(meta.name),
            },
            "ownerReferences": [owner_reference(names.PROVIDER, meta)],
        },
        "spec": run_spec,
    }


def _in_turn(waiting: Iterable[Row]) -> list[Row]:
    """The order of a run: its verifier takes one pact after the other, and may not survive each of them.

    What was never tried comes first. Of an earlier run that ended early, those come first that it did not get to, and
    the one at which it ended comes last: so none keeps the others from their results for long.
    """
    rows = sorted(waiting, key=lambda row: (row.contract.consumer, row.contract.content_sha))
    open_ = {(row.contract.consumer, row.contract.content_sha) for row in rows}

    def place(row: Row) -> tuple[int, int]:
        if row.run is None:
            return 0, 0
        tried = [(pact.consumer, pact.content_sha) for pact in row.run.spec.pacts or ()]
        ended_at = next((key for key in tried if key in open_), None)
        key = (row.contract.consumer, row.contract.content_sha)
        return 1, len(tried) if key == ended_at else tried.index(key)

    return sorted(rows, key=place)


def _batch(rows: list[Row]) -> list[Row]:
    """As many as one run can take."""
    room, taken = MAX_PACTS_BYTES, 0
    for row in rows[:MAX_PACTS_PER_RUN]:
        room -= len(json.dumps(_pact(row.contract))) + 1
        if room < 0:
            break
        taken += 1
    return rows[:taken]


def _pact(contract: Contract) -> dict[str, Any]:
    return {
        "consumer": contract.consumer,
        "contentSha": contract.content_sha,
        "url": _link(contract),
        "pending": contract.pending,
    }


def _outlived(runs: Iterable[PactVerification], rows: list[Row]) -> list[PactVerification]:
    """Finished runs that nobody will miss: beyond the newest few, and no current contract's last run."""
    needed = {row.run.metadata.name for row in rows if row.run}
    over: list[PactVerification] = []
    ended = sorted(
        (run for run in runs if finished(run)), key=lambda run: parse(run.status.completion_time), reverse=True
    )
    for passed, keep in ((True, KEEP_PASSED), (False, KEEP_OTHERS)):
        alike = [run for run in ended if _is_true(run.status.conditions, "Succeeded") == passed]
        over += [run for run in alike[keep:] if run.metadata.name not in needed]
    return over


def _ready(facts: ProviderFacts, version: str, rows: list[Row], waits_for: str) -> Cond:
    if "CreateVerification" in facts.failed:
        failure = facts.failed["CreateVerification"]
        return Cond("Ready", "False", Reason.JOB_REJECTED, f"No run can be created: {failure.message}")
    if not rows:
        return Cond(
            "Ready",
            "Unknown",
            Reason.NOTHING_TO_VERIFY,
            f"No pact for {facts.provider.spec.pacticipant!r} is in scope of the selectors: nothing was checked.",
        )
    failed = [row for row in rows if row.state == "Failed"]
    # A version that the broker believes to be deployed, but that has no image any more, is the record's trouble: it
    # is shown among the contracts, and does not hold the current version up.
    blocked = [
        row for row in rows if row.state == "Blocked" and (row.current or row.reason is not Reason.IMAGE_PULL_FAILED)
    ]
    going = [row for row in rows if row.state in ("Owed", "Running")]
    if failed:
        first = failed[0]
        more = f" ({len(failed) - 1} more)" if len(failed) > 1 else ""
        told = first.message or "see the result in the broker"
        return Cond(
            "Ready",
            "False",
            Reason.CONTRACT_BROKEN,
            f"{first.contract.consumer} with version {first.version}: {told}{more}",
        )
    if blocked:
        first = blocked[0]
        return Cond(
            "Ready", "False", first.reason, f"{first.contract.consumer} with version {first.version}: {first.message}"
        )
    if going:
        return Cond(
            "Ready",
            "Unknown",
            Reason.VERIFICATION_PENDING,
            f"{len(going)} of {_counted(len(rows), 'contract')} {'has' if len(going) == 1 else 'have'} no result yet"
            f"{f'; {waits_for}' if waits_for else ''}.",
        )
    pending = sum(row.state == "PendingFailed" for row in rows)
    note = f"; {pending} more fail and are pending" if pending else ""
    return Cond(
        "Ready",
        "True",
        Reason.ALL_VERIFIED,
        f"{_holding(len(rows) - pending, len(rows))} for {version}{note}.",
    )


def _held(facts: ProviderFacts, version: str | None, reason: Reason, message: str) -> Plan:
    """Nothing can be decided: the last known contracts stay, and the conditions say why."""
    provider = facts.provider
    waits = reason in (Reason.BROKER_UNAVAILABLE, Reason.SUSPENDED)
    stated = (
        Cond("Ready", "Unknown" if waits else "False", reason, message),
        Cond("Synced", "False", reason, message),
    )
    gate = (decide(facts.gate).condition(),) if facts.gate else ()
    status = provider.status
    return Plan(
        status=status_of(
            status.conditions,
            (*stated, *gate),
            facts.now,
            provider.metadata.generation,
            {
                **tidy(status.model_dump(by_alias=True, exclude_none=True)),
                **(_version_status(facts, version) if version else {}),
            },
        ),
        events=events(status.conditions, stated),
    )


def _version_status(facts: ProviderFacts, version: str) -> dict[str, Any]:
    status, shown = facts.provider.status, tidy(version)
    return {
        "version": shown,
        "versionSince": _since(status.version_since if status.version == shown else None, facts.now),
    }


def _since(before: str | None, now: float) -> str:
    """The time from before, if there is one that can be read; else it begins now."""
    return rfc3339(parse(before) or now)


def _provider_status(
    facts: ProviderFacts,
    version: str,
    rows: list[Row],
    contracts: Iterable[ContractStatus],
    matter: Iterable[VersionFacts],
    stated: Sequence[Cond],
) -> dict[str, Any]:
    meta = facts.provider.metadata
    candidates = [
        {"version": tidy(vf.version), "until": rfc3339(vf.candidate_until)}
        for vf in matter
        if vf.candidate_until is not None
    ]
    return {
        **status_of(facts.provider.status.conditions, stated, facts.now, meta.generation),
        **_version_status(facts, version),
        "verified": sum(row.state == "Verified" for row in rows),
        "owed": sum(row.state in OWED for row in rows),
        "failed": sum(row.state == "Failed" for row in rows),
        "contracts": within(contract.model_dump(by_alias=True, exclude_none=True) for contract in contracts),
        **({"candidates": candidates} if candidates else {}),
    }


def _shown_contracts(facts: ProviderFacts, rows: list[Row]) -> list[ContractStatus]:
    """What a status lists, those that matter first."""
    told = facts.provider.status.contracts
    since = {(one.consumer, one.provider_version, one.content_sha): one.owed_since for one in told}
    order = {"Failed": 0, "Blocked": 1, "Owed": 2, "Running": 3, "PendingFailed": 4, "Verified": 5}
    shown = sorted(
        rows,
        key=lambda row: (row.candidate, order[row.state], row.contract.consumer, row.version, row.contract.content_sha),
    )
    return [_contract_status(row, since, facts.now) for row in shown[:MAX_CONTRACTS]]


def _contract_status(row: Row, since: Mapping[tuple[str, str, str], str | None], now: float) -> ContractStatus:
    key = (_named(row.contract.consumer), _named(row.version), _named(row.contract.content_sha))
    url = row.result_url if len(row.result_url) <= MAX_LINK and row.result_url.isprintable() else ""
    return ContractStatus(
        consumer=key[0],
        provider_version=key[1],
        content_sha=key[2],
        state=row.state,
        owed_since=_since(since.get(key), now) if row.state in OWED else None,
        reason=str(row.reason),
        actor=str(ADVICE[row.reason].actor) if acting(row.reason) else None,
        message=clean(row.message),
        verification=row.run.metadata.name if row.run else None,
        result_url=url or None,
    )


def _named(text: str) -> str:
    """A name as it is, or one that can be shown and still is no other's."""
    if len(text) <= MAX_TEXT and text.isprintable():
        return text
    return f"{clean(text, 100)} ({digest(text)})"


# --- run, confirmed, verdict -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a run stands: its conditions, what is known of each pact, and whether it is over."""

    succeeded: Cond
    published: Cond | None = None
    pacts: tuple[PactResult, ...] = ()
    over: bool = False
    again_in: float | None = None


def plan_verification(facts: VerificationFacts) -> Plan:
    """Decides what one run needs next: its Job, more patience, the broker's confirmation, or its verdict.

    Args:
        facts: see `VerificationFacts`.

    Returns:
        The Job to create, if any, and the status.
    """
    run = facts.verification
    if finished(run) or run.metadata.deletion_timestamp:
        return Plan()
    if trouble := broker_trouble(facts.broker, run.spec.broker_ref.name):
        return _verdict_plan(facts, Verdict(_unknown(*trouble)))
    assert facts.broker is not None, "broker_trouble tells of a missing broker"  # noqa: S101
    name = (
        run.metadata.name if len(run.metadata.name) <= 52 else child_name(run.metadata.name, digest(run.metadata.uid))
    )
    if facts.job is None:
        if run.status.job_name and (told := _by_broker(facts)):
            return _verdict_plan(facts, told)
        if run.status.job_name and isinstance(facts.results, Failure):
            # The Job went before its end was seen: whether it has to run again, only the broker can tell.
            why = f"The Job is gone, and the broker cannot be asked for its results: {facts.results.message}"
            return _verdict_plan(facts, Verdict(_unknown(Reason.CONFIRMING, why), again_in=5.0))
        job = verifier_job(run, facts.broker, facts.settings, name)
        return _verdict_plan(facts, _asked_for(facts), (CreateJob(job),), job_name=name)
    return _verdict_plan(facts, _verdict(facts), job_name=facts.job.name)


def _asked_for(facts: VerificationFacts) -> Verdict:
    if failure := facts.failed.get("CreateJob"):
        return Verdict(_unknown(Reason.JOB_REJECTED, f"The Job cannot be created: {failure.message}"))
    return Verdict(_unknown(Reason.PENDING, "The Job has been asked for."))


def _verdict(facts: VerificationFacts) -> Verdict:
    job, pod = facts.job, facts.pod
    assert job is not None, "without a Job there is no verdict to take"  # noqa: S101
    end = last_word(job, pod, names.CONTAINER_VERIFIER)
    if end is None:
        return _unended(facts)
    message = verifier_message(end)
    pacts = tuple(message.pacts) if message else ()
    text = message.message if message else ""
    if end.exit_code in (names.EXIT_PASSED, names.EXIT_BROKEN):
        if facts.verification.spec.publish_results:
            return _confirmed(facts, pacts, text, end.finished_at)
        if message is None:
            return Verdict(
                _false(Reason.JOB_FAILED, f"The verifier's termination message cannot be read: {tail(end.message)}"),
                over=True,
            )
        if end.exit_code == names.EXIT_PASSED:
            return Verdict(
                Cond("Succeeded", "True", Reason.PASSED, text or "Every interaction held."), None, pacts, over=True
            )
        return Verdict(_false(Reason.CONTRACT_BROKEN, _broken_text(pacts, text)), None, pacts, over=True)
    if end.exit_code == names.EXIT_NOTHING:
        return Verdict(
            _unknown(Reason.NOTHING_TO_VERIFY, text or "No pact is in scope: nothing was checked."),
            None,
            pacts,
            over=True,
        )
    reason = verifier_reason(message)
    if end.reason == "OOMKilled":
        reason, text = Reason.OUT_OF_MEMORY, "The verifier was killed: it needs more memory than its limit."
    words = "see its log" if message else tail(end.message) or "see its log"
    text = text or f"The verifier ended with exit code {end.exit_code}: {words}"
    if job.failed:
        return Verdict(_false(reason, text), None, pacts, over=True)
    return Verdict(_unknown(Reason.RETRYING, f"{reason}: {text} The Job tries again."), None, pacts)


def _unended(facts: VerificationFacts) -> Verdict:
    job, pod = facts.job, facts.pod
    assert job is not None, "without a Job there is no verdict to take"  # noqa: S101
    if (job.complete or (pod is None and job.failed)) and (told := _by_broker(facts)):
        return told
    if job.complete and isinstance(facts.results, Failure):
        why = f"The results cannot be read back yet: {facts.results.message}"
        return Verdict(_unknown(Reason.CONFIRMING, why), again_in=5.0)
    trouble = stuck(pod) or (_seen_before(facts) if pod is None else None)
    if job.failed:
        if trouble:
            return Verdict(_false(trouble.reason, trouble.message), over=True)
        if job.failed_reason == "DeadlineExceeded":
            seconds = facts.verification.spec.run.active_deadline_seconds
            return Verdict(
                _false(Reason.DEADLINE_EXCEEDED, f"The run did not end within {seconds} seconds."), over=True
            )
        return Verdict(_false(Reason.JOB_FAILED, job.failed_message or "The Job failed; see its events."), over=True)
    if job.complete:
        return Verdict(
            _false(Reason.RESULT_MISSING, "The Job is gone through, but no result of it is known."), over=True
        )
    if pod is None and job.suspended:
        return Verdict(_unknown(Reason.PENDING, "The Job is suspended: a queue such as Kueue has not let it in yet."))
    if pod is None and job.complaint:
        why = f"Kubernetes refuses the Job's Pod: {job.complaint}"
        return Verdict(_unknown(Reason.JOB_REJECTED, why), again_in=PODLESS_SECONDS)
    if trouble and pod:
        return Verdict(_unknown(trouble.reason, trouble.message))
    if pod and names.CONTAINER_VERIFIER in pod.running:
        return Verdict(_unknown(Reason.RUNNING, "The verifier is at work."))
    waiting = _unknown(Reason.PENDING, "The Job's Pod has not started yet.")
    return Verdict(waiting, again_in=PODLESS_SECONDS if pod is None else None)


def _seen_before(facts: VerificationFacts) -> Stuck | None:
    """What kept the Pod from getting on, as it was last seen: the Job controller removes the Pod at the deadline."""
    seen = _condition(facts.verification.status.conditions, "Succeeded")
    lasting = (
        Reason.IMAGE_PULL_FAILED,
        Reason.CONTAINER_CANNOT_START,
        Reason.PROVIDER_NOT_READY,
        Reason.UNSCHEDULABLE,
        Reason.JOB_REJECTED,
    )
    return Stuck(Reason(seen.reason), seen.message) if seen and seen.reason in lasting else None


def _confirmed(facts: VerificationFacts, pacts: tuple[PactResult, ...], text: str, ended_at: float) -> Verdict:
    """The verifier says that it is done: only what the broker holds counts."""
    wanted = _wanted(facts.verification, pacts)
    waited = facts.now - ended_at
    if not isinstance(facts.results, Mapping):
        why = facts.results.message if facts.results else "the broker has not been asked yet"
        return Verdict(
            _unknown(Reason.CONFIRMING, f"The results cannot be read back yet: {why}"),
            Cond("ResultPublished", "Unknown", Reason.CONFIRMING, why),
            pacts,
            again_in=5.0,
        )
    missing = [consumer for consumer, sha in wanted if (consumer, sha) not in facts.results]
    if missing or not wanted:
        why = f"The broker holds no result of this run for {', '.join(sorted(set(missing))[:3]) or 'any pact'}."
        if waited < CONFIRM_SECONDS:
            return Verdict(
                _unknown(Reason.CONFIRMING, why),
                Cond("ResultPublished", "Unknown", Reason.CONFIRMING, why),
                pacts,
                again_in=2.0,
            )
        return Verdict(
            _false(Reason.RESULT_MISSING, why),
            Cond("ResultPublished", "False", Reason.RESULT_MISSING, why),
            pacts,
            over=True,
        )
    return _told(facts, pacts, text)


def _by_broker(facts: VerificationFacts) -> Verdict | None:
    """The run's end was not seen; where the broker holds every result all the same, they are the verdict."""
    wanted = _wanted(facts.verification, ())
    if not wanted or not isinstance(facts.results, Mapping) or any(key not in facts.results for key in wanted):
        return None
    return _told(facts, (), "")


def _told(facts: VerificationFacts, pacts: tuple[PactResult, ...], text: str) -> Verdict:
    results = facts.results
    assert isinstance(results, Mapping), "only called with the broker's answer"  # noqa: S101
    pending = {(p.consumer, p.content_sha) for p in facts.verification.spec.pacts or () if p.pending}
    wanted = _wanted(facts.verification, pacts)
    said = {(p.consumer, p.content_sha): p for p in pacts}
    shown = tuple(_shown(results[key], said.get(key), key in pending) for key in wanted)
    broken = [pact for pact in shown if pact.outcome == "Failed"]
    published = Cond(
        "ResultPublished",
        "True",
        Reason.RESULTS_READ_BACK,
        f"The broker holds {_all(len(shown), 'result')} of this run.",
    )
    if broken:
        return Verdict(_false(Reason.CONTRACT_BROKEN, _broken_text(broken, text)), published, shown, over=True)
    held = sum(pact.outcome == "Passed" for pact in shown)
    note = "" if held == len(shown) else f"; {len(shown) - held} failed and are pending"
    return Verdict(
        Cond("Succeeded", "True", Reason.PASSED, f"{_holding(held, len(shown))}{note}."),
        published,
        shown,
        over=True,
    )


def _shown(result: Result, said: PactResult | None, pending: bool) -> PactResult:
    outcome: Literal["Passed", "Failed", "PendingFailed"] = (
        "Passed" if result.success else "PendingFailed" if pending else "Failed"
    )
    agrees = said is not None and (said.outcome == "Passed") == result.success
    return PactResult(
        consumer=result.consumer,
        content_sha=result.content_sha,
        outcome=outcome,
        interactions=said.interactions if said else 0,
        failed=said.failed if said and agrees else 0,
        mismatch="" if result.success else clean((said.mismatch if said and agrees else "") or result.mismatch),
        published_at=rfc3339(at) if (at := parse(result.published_at)) else None,
    )


def _wanted(run: PactVerification, pacts: Iterable[PactResult]) -> list[tuple[str, str]]:
    if run.spec.pacts:
        return [(pact.consumer, pact.content_sha) for pact in run.spec.pacts]
    return [(pact.consumer, pact.content_sha) for pact in pacts]


def _broken_text(pacts: Iterable[PactResult], text: str) -> str:
    first = next((pact for pact in pacts if pact.outcome == "Failed"), None)
    if first and first.mismatch:
        return f"{first.consumer}: {first.mismatch}"
    return text or "A contract is broken; see the result in the broker."


def _verdict_plan(
    facts: VerificationFacts, verdict: Verdict, actions: tuple[Action, ...] = (), job_name: str | None = None
) -> Plan:
    run = facts.verification
    stated = [verdict.succeeded]
    if verdict.published:
        stated.append(verdict.published)
    status: dict[str, Any] = {
        **status_of(run.status.conditions, stated, facts.now, run.metadata.generation),
        "pacts": within(_pact_result(pact) for pact in verdict.pacts),
    }
    # A Job that could not be created has not started: a later look must not take it for one that vanished.
    created = "CreateJob" not in facts.failed
    if created and (name := run.status.job_name or job_name):
        status["jobName"] = tidy(name)
        status["startTime"] = tidy(run.status.start_time) or rfc3339(facts.now)
    if verdict.over:
        status["completionTime"] = rfc3339(facts.now)
    return Plan(
        actions=actions,
        status=status,
        events=events(run.status.conditions, stated),
        requeue_after=None if verdict.over else verdict.again_in or UNFINISHED_SECONDS,
    )


def _pact_result(pact: PactResult) -> dict[str, Any]:
    shown = pact.model_copy(
        update={
            "consumer": clean(pact.consumer),
            "content_sha": clean(pact.content_sha),
            "mismatch": clean(pact.mismatch, MAX_MESSAGE),
        }
    )
    return dict(tidy(shown.model_dump(by_alias=True, exclude_none=True)))


# --- shared ----------------------------------------------------------------------------------------------------------


def plan_invalid(body: Mapping[str, Any], message: str, now: float) -> Plan:
    """Plans for an object whose spec cannot be read: one condition that says which field.

    Args:
        body: the object as the API server holds it.
        message: what is wrong with it.
        now: seconds since the epoch.

    Returns:
        A status with the one condition; nothing else is done, and what was known before stays. Nothing for a run that
        has its verdict: that is final.
    """
    meta = body.get("metadata") or {}
    try:
        status = _STATUSES[body.get("kind", "")].model_validate(body.get("status") or {})
    except (KeyError, ValidationError):
        # Nobody can read it: it says nothing that is worth keeping.
        status = Status()
    if isinstance(status, PactVerificationStatus) and status.completion_time:
        return Plan()
    kind = "Succeeded" if body.get("kind") == names.VERIFICATION else "Ready"
    observed = [condition for condition in status.conditions if condition.type == kind]
    stated = (Cond(kind, "False", Reason.INVALID_SPEC, message),)
    generation = int(meta.get("generation") or 0)
    return Plan(
        status=status_of(
            observed,
            stated,
            now,
            generation,
            tidy(status.model_dump(by_alias=True, exclude_none=True, exclude_unset=True)),
        ),
        events=events(observed, stated),
    )


_STATUSES: Final[Mapping[str, type[Status]]] = {
    names.BROKER: PactBrokerStatus,
    names.CONSUMER: PactConsumerStatus,
    names.PROVIDER: PactProviderStatus,
    names.VERIFICATION: PactVerificationStatus,
}


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _all(count: int, noun: str) -> str:
    return f"the one {noun}" if count == 1 else f"all {count} {noun}s"


def _holding(count: int, total: int) -> str:
    """`The one contract holds`, `All 3 contracts hold`, `2 of 3 contracts hold`."""
    if count == total:
        said = f"{_all(total, 'contract')} {'holds' if total == 1 else 'hold'}"
        return said[0].upper() + said[1:]
    return f"{count} of {_counted(total, 'contract')} hold"


def _condition(conditions: Iterable[Condition], kind: str) -> Condition | None:
    return next((condition for condition in conditions if condition.type == kind), None)


def _is_true(conditions: Iterable[Condition], kind: str) -> bool:
    condition = _condition(conditions, kind)
    return condition is not None and condition.status == "True"


def _unknown(reason: Reason, message: str) -> Cond:
    return Cond("Succeeded", "Unknown", reason, message)


def _false(reason: Reason, message: str) -> Cond:
    return Cond("Succeeded", "False", reason, message)
