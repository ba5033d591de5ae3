"""Recorded: what runs in the cluster, what the broker holds as deployed, and what to do where the two differ.

The operator writes only when what *runs* differs from what it recorded, or found recorded, last. So a restart, a
repeated event or a lost status makes it write nothing again, and whoever records by hand in the meantime is shown, not
fought. It takes back only what it recorded or found itself; a version that the broker does not know is never recorded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pact_operator.api import names
from pact_operator.api.reasons import Reason
from pact_operator.api.v1alpha1 import (
    DeploymentStatus,
    PactBroker,
    PactConsumer,
    PactConsumerSpec,
    PactProvider,
    PactProviderSpec,
)
from pact_operator.core.actions import Action, Look, Plan, RecordDeployment, RecordUndeployment
from pact_operator.core.conditions import Cond, clean, events, tidy, with_condition
from pact_operator.core.facts import (
    ConsumerFacts,
    Deployed,
    DeploymentFacts,
    Failure,
    Key,
    ProviderFacts,
    Sharer,
    Trouble,
    WorkloadFacts,
)
from pact_operator.core.naming import digest
from pact_operator.core.outcome import known
from pact_operator.core.rollout import Rollout
from pact_operator.core.times import rfc3339
from pact_operator.core.versions import Unresolved, resolve

KIND: Final = "Recorded"
READ_BACK_SECONDS: Final = 1.0
"""After which a note is acted on, and what was recorded is read back; mostly the watch tells of the status before."""
MAX_SHOWN: Final = 10
MAX_VERSION: Final = 1024
MAX_REQUEST: Final = 128

_WAITED_FOR: Final = {
    Reason.VERIFICATION_PENDING: "its verification is owed or running",
    Reason.TESTS_RUNNING: "its pact tests are running",
}
"""Reasons of the condition `Ready` that say that the broker is about to learn of the version."""


@dataclass(frozen=True, slots=True)
class RecordFacts:
    """Everything that `recorded` may know of one object."""

    key: Key
    pacticipant: str
    broker: str
    """URL of the broker."""
    environment: str
    records: bool
    """Whether the mode is `Record`, not `Observe`."""
    instance: str | None
    workload: str
    """Name of the Deployment that the version is read from."""
    rollout: Rollout | None
    """None: there is no such Deployment."""
    version: str | Unresolved
    """What its Pod template has for the version."""
    deployment: DeploymentFacts
    now: float
    last: DeploymentStatus | None = None
    """`status.deployment` as it is."""
    request: str | None = None
    """The annotation by which a person asks for a record."""
    ready: Reason | None = None
    """Reason of the condition `Ready`."""
    failed: Mapping[str, Failure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """How record and cluster stand to each other, and what to do."""

    condition: Cond
    deployment: DeploymentStatus
    actions: tuple[Action, ...] = ()
    again_in: float | None = None


def wanted(spec: PactConsumerSpec | PactProviderSpec, broker: PactBroker) -> bool:
    """Whether what runs of an object is compared with the broker's record at all."""
    ours = broker.spec
    return ours.environment is not None and ours.recording.mode != "Off" and spec.version.from_workload is not None


def on_hold(spec: PactConsumerSpec | PactProviderSpec, broker: PactBroker | None) -> bool:
    """Whether nothing is asked or decided for now."""
    return spec.suspend or broker is None or broker.spec.suspend


def asks_for_version(
    version: str | Unresolved,
    workload: WorkloadFacts | None,
    held: Iterable[Deployed],
    instance: str | None,
) -> bool:
    """Whether a decision can depend on the broker knowing the version.

    Args:
        version: what the workload's Pod template has.
        workload: the Deployment.
        held: what the broker holds as deployed of the pacticipant in the environment.
        instance: of the object.
    """
    complete = workload is not None and workload.rollout is Rollout.COMPLETE
    return (
        complete and isinstance(version, str) and {one.version for one in held if one.instance == instance} != {version}
    )


def with_record(plan: Plan, facts: ConsumerFacts | ProviderFacts) -> Plan:
    """Adds to the plan of a PactConsumer or PactProvider what concerns the record of its deployment.

    Args:
        plan: what was decided otherwise; its condition `Ready` tells whether the broker is about to learn of a version.
        facts: what that was decided on.

    Returns:
        The plan with the condition `Recorded`, `status.deployment` and what to record; without them where nothing is
        compared: no environment, mode `Off`, or a version that is not read from a workload.
    """
    obj = facts.provider if isinstance(facts, ProviderFacts) else facts.consumer
    meta, spec, broker = obj.metadata, obj.spec, facts.broker
    if meta.deletion_timestamp or on_hold(spec, broker):
        return plan
    assert broker is not None, "on_hold tells of a missing broker"  # noqa: S101
    status = plan.status if plan.status is not None else _dumped(obj)
    if facts.deployment is None or not wanted(spec, broker):
        told_before = "deployment" in status or any(one["type"] == KIND for one in status["conditions"])
        return replace(plan, status=_without(status, facts.now, meta.generation)) if told_before else plan
    ready = next((known(one["reason"], Reason.PENDING) for one in status["conditions"] if one["type"] == "Ready"), None)
    told = recorded(_facts(facts, obj, broker, facts.deployment, ready))
    shown = tidy(told.deployment.model_dump(by_alias=True, exclude_none=True))
    observed = obj.status.conditions
    status = {
        **with_condition(status, KIND, told.condition, observed, facts.now, meta.generation),
        "deployment": shown,
    }
    said = {event.reason for event in plan.events}
    more = [event for event in events(obj.status.conditions, (told.condition,)) if event.reason not in said]
    after = [seconds for seconds in (plan.requeue_after, told.again_in) if seconds is not None]
    return replace(
        plan,
        actions=(*plan.actions, *told.actions),
        status=status,
        events=(*plan.events, *more),
        requeue_after=min(after, default=None),
    )


def _dumped(obj: PactConsumer | PactProvider) -> dict[str, Any]:
    return dict(tidy(obj.status.model_dump(by_alias=True, exclude_none=True)))


def _without(status: Mapping[str, Any], now: float, generation: int) -> dict[str, Any]:
    rest = with_condition(status, KIND, None, (), now, generation)
    return {key: value for key, value in rest.items() if key != "deployment"}


def _facts(
    facts: ConsumerFacts | ProviderFacts,
    obj: PactConsumer | PactProvider,
    broker: PactBroker,
    deployment: DeploymentFacts,
    ready: Reason | None,
) -> RecordFacts:
    ref, environment = obj.spec.version.from_workload, broker.spec.environment
    assert ref is not None and environment is not None, "`wanted` has looked"  # noqa: S101, PT018
    return RecordFacts(
        key=Key(type(obj).__name__, obj.metadata.namespace, obj.metadata.name),
        pacticipant=obj.spec.pacticipant,
        broker=broker.spec.url,
        environment=environment.name,
        records=broker.spec.recording.mode == "Record",
        instance=obj.spec.application_instance,
        workload=ref.name,
        rollout=facts.workload.rollout if facts.workload else None,
        version=resolve(obj.spec.version, facts.workload),
        deployment=deployment,
        now=facts.now,
        last=obj.status.deployment,
        request=obj.metadata.annotations.get(names.ANNOTATION_RECORD),
        ready=ready,
        failed=facts.failed,
    )


def recorded(facts: RecordFacts) -> Told:
    """Decides how what runs stands to what the broker holds as deployed, and what to record.

    Args:
        facts: see `RecordFacts`.

    Returns:
        The condition `Recorded`, `status.deployment`, and the actions. Total, and idempotent: applied to what it made,
        it asks for nothing.
    """
    held = facts.deployment.held
    if isinstance(held, Failure):
        why = f"The broker cannot be asked what is deployed: {held.message}"
        return Told(_unknown(known(held.trouble, Reason.BROKER_UNAVAILABLE), why), facts.last or _shown(facts, ()))
    mine = tuple(one for one in held if one.instance == facts.instance)
    if rival := _rival(facts):
        named = f"instance {facts.instance!r}" if facts.instance else "no instance name"
        why = (
            f"{rival.key.kind} {rival.key.name!r} records {facts.pacticipant!r} with {named}, too, from another "
            "workload or version: neither does, until each has its own spec.applicationInstance."
        )
        return Told(Cond(KIND, "False", Reason.INSTANCE_CONFLICT, why), _shown(facts, mine))
    if facts.rollout is None:
        return _nothing_runs(facts, mine) if _seen(facts) else _never_there(facts, mine)
    if isinstance(facts.version, Unresolved):
        return Told(_unknown(facts.version.reason, facts.version.message), _shown(facts, mine))
    match facts.rollout:
        case Rollout.NOTHING:
            return _nothing_runs(facts, mine)
        case Rollout.COMPLETE:
            return _runs(facts, mine, facts.version)
        case Rollout.PROGRESSING | Rollout.FAILED:
            return _between(facts, mine, facts.version)


# --- what there is ---------------------------------------------------------------------------------------------------


def _rank(key: Key) -> tuple[bool, str]:
    return (key.kind != names.PROVIDER, key.name)


def _sharers(facts: RecordFacts) -> list[Sharer]:
    return sorted(facts.deployment.sharers, key=lambda other: _rank(other.key))


def _rival(facts: RecordFacts) -> Sharer | None:
    """Another object of the same instance that speaks of something else than this one."""
    version = facts.version if isinstance(facts.version, str) else None
    for other in _sharers(facts):
        if other.workload != facts.workload or (version and other.version and other.version != version):
            return other
    return None


def _leads(facts: RecordFacts) -> bool:
    """Whether it is this object that records, of those that share its workload."""
    return all(_rank(facts.key) < _rank(other.key) for other in facts.deployment.sharers)


def _speaks(last: DeploymentStatus | None, facts: RecordFacts, instance: str | None) -> bool:
    """Whether a status speaks of this broker and environment, and of an instance."""
    if last is None or (last.environment, last.application_instance) != (facts.environment, instance):
        return False
    return last.broker in ("", facts.broker)


def _own_memory(facts: RecordFacts) -> str | None:
    if not facts.last or not _speaks(facts.last, facts, facts.instance):
        return None
    # What the broker holds of what was noted was recorded, though nobody could write that down.
    held = facts.deployment.held if not isinstance(facts.deployment.held, Failure) else ()
    versions = {tidy(one.version) for one in held if one.instance == facts.instance}
    return facts.last.recording if versions == {facts.last.recording} else facts.last.recorded


def _noted(facts: RecordFacts) -> str | None:
    """What was about to be recorded: whether it was, a process that ended then cannot have written down."""
    return facts.last.recording if facts.last and _speaks(facts.last, facts, facts.instance) else None


def _memory(facts: RecordFacts) -> str | None:
    """What was recorded last by whichever records; by another that shares the workload where that one has no status."""
    told = [(_rank(facts.key), facts.last)] + [(_rank(other.key), other.last) for other in facts.deployment.sharers]
    for _, last in sorted(told, key=lambda one: one[0]):
        if last is not None and _speaks(last, facts, facts.instance):
            return _own_memory(replace(facts, last=last))
    return None


def _seen(facts: RecordFacts) -> bool:
    """Whether the Deployment has ever been seen."""
    lasts = (facts.last, *(other.last for other in facts.deployment.sharers))
    return facts.rollout is not None or any(last and last.workload == facts.workload for last in lasts)


def _request(facts: RecordFacts) -> str | None:
    """What a person's request is called in the status: an annotation may have 256 KiB."""
    if not facts.request:
        return None
    return str(tidy(facts.request)) if len(facts.request) <= MAX_REQUEST else digest(facts.request)


def _asked(facts: RecordFacts) -> bool:
    request = _request(facts)
    return request is not None and request != (facts.last.request if facts.last else None)


def _shown(
    facts: RecordFacts,
    mine: Iterable[Deployed],
    *,
    memory: str | None = "",
    running: str | None = "",
    recording: str | None = "",
    done: bool = False,
) -> DeploymentStatus:
    """The status; memory, what runs and what is being recorded are kept where nothing else is said.

    Args:
        facts: see `RecordFacts`.
        mine: what the broker holds for the instance.
        memory: what is recorded now; the empty text keeps what was.
        running: what runs now; the empty text keeps what ran.
        recording: what is being recorded; the empty text keeps what was.
        done: whether a request of a person was answered.
    """
    last = facts.last
    if last and facts.records and not done and _moved(facts):
        # The old name is kept until what runs is recorded under the new one: then what is under the old is taken back.
        return last
    before = _own_memory(facts)
    ran = last.running if last and last.workload == facts.workload else None
    kept = before if memory == "" else memory
    since = (last.recorded_at if last and kept == before else None) or rfc3339(facts.now)
    seen = facts.workload if _seen(facts) else last.workload if last else None
    return DeploymentStatus(
        broker=facts.broker,
        environment=facts.environment,
        application_instance=facts.instance,
        workload=seen,
        running=tidy(ran if running == "" else running),
        in_broker=[clean(one.version, MAX_VERSION) for one in mine][:MAX_SHOWN],
        recorded=tidy(kept),
        recorded_at=since if kept else None,
        recording=tidy(_noted(facts) if recording == "" else recording),
        request=_request(facts) if done and facts.request else last.request if last else None,
    )


def _where(facts: RecordFacts) -> str:
    return facts.environment + (f" (instance {facts.instance!r})" if facts.instance else "")


def _holds(facts: RecordFacts, mine: Iterable[Deployed]) -> str:
    versions = list(dict.fromkeys(one.version for one in mine))
    more = f" and {len(versions) - MAX_SHOWN} more" if len(versions) > MAX_SHOWN else ""
    what = ", ".join(clean(version, 100) for version in versions[:MAX_SHOWN]) + more
    return f"the broker holds {what or 'nothing'} as deployed in {_where(facts)}"


def _unknown(reason: Reason, message: str) -> Cond:
    return Cond(KIND, "Unknown", reason, message)


# --- what to do ------------------------------------------------------------------------------------------------------


def _never_there(facts: RecordFacts, mine: tuple[Deployed, ...]) -> Told:
    """Nothing can be told of a Deployment that was never seen: its name may be wrong."""
    why = f"There is no Deployment {facts.workload!r} in this namespace; {_holds(facts, mine)}."
    return Told(_unknown(Reason.WORKLOAD_NOT_FOUND, why), _shown(facts, mine, running=None))


def _between(facts: RecordFacts, mine: tuple[Deployed, ...], version: str) -> Told:
    ran = facts.last.running if facts.last and facts.last.workload == facts.workload else None
    if tidy(version) == ran and {one.version for one in mine} == {version}:
        # Scaling, a Pod that is replaced, another setting, a rollback: the version has been running all the time.
        return Told(_well(facts, version), _shown(facts, mine, memory=version, recording=None))
    shown = _shown(facts, mine)
    if facts.rollout is Rollout.FAILED:
        why = f"The rollout of {version} does not complete in its time: nothing is recorded; {_holds(facts, mine)}."
        return Told(_unknown(Reason.ROLLOUT_FAILED, why), shown)
    why = f"{version} is being rolled out; {_holds(facts, mine)}."
    return Told(_unknown(Reason.ROLLOUT_IN_PROGRESS, why), shown)


def _nothing_runs(facts: RecordFacts, mine: tuple[Deployed, ...]) -> Told:
    gone = f"Deployment {facts.workload!r} is gone" if facts.rollout is None else "It is scaled to zero"
    if not mine:
        why = f"{gone}: nothing runs, and {_holds(facts, mine)}."
        shown = _shown(facts, mine, memory=None, running=None, recording=None, done=True)
        return _with_move(facts, Told(Cond(KIND, "True", Reason.NOTHING_DEPLOYED, why), shown))
    asked, memory = _asked(facts), _memory(facts)
    ours = mine if asked else tuple(one for one in mine if facts.records and tidy(one.version) == memory)
    if not ours:
        why = f"{gone}: nothing runs, but {_holds(facts, mine)}. "
        why += (
            "Somebody else has recorded it: the operator takes back only what it recorded itself."
            if facts.records
            else "Nothing is recorded: spec.recording.mode of the PactBroker is Observe."
        )
        return Told(_drift(why), _shown(facts, mine, running=None))
    if not _leads(facts) and not asked:
        return _left_to_another(facts, mine, None)
    if failure := facts.failed.get("RecordUndeployment"):
        return _refused(facts, failure, _shown(facts, mine, running=None))
    actions: list[Action] = [RecordUndeployment(one.uuid) for one in ours]
    shown = _shown(facts, mine, memory=None, running=None, recording=None, done=True)
    return _with_move(facts, _recording(facts, f"{gone}: that nothing runs is being recorded.", shown, actions))


def _runs(facts: RecordFacts, mine: tuple[Deployed, ...], version: str) -> Told:
    if {one.version for one in mine} == {version}:
        shown = _shown(facts, mine, memory=version, running=version, recording=None, done=True)
        return _with_move(facts, Told(_well(facts, version), shown))
    asked, memory = _asked(facts), _memory(facts)
    both = f"{version} runs, but {_holds(facts, mine)}"
    if facts.records and memory == tidy(version) and not asked:
        why = f"{both}. Somebody else has recorded that; {version} was recorded before, and is not again unasked."
        return Told(_drift(why), _shown(facts, mine, running=version))
    # What is observed only, and differs, is nobody's record: once the mode is Record, what runs is recorded.
    own = _own_memory(facts)
    shown = _shown(facts, mine, running=version, memory=None if own == tidy(version) and not facts.records else own)
    exists = facts.deployment.known
    if isinstance(exists, Failure) or exists is None:
        doubt = exists or Failure(Trouble.UNAVAILABLE, "It has not been asked yet.")
        why = f"{both}. Whether it knows {version} cannot be told: {doubt.message}"
        return Told(_unknown(known(doubt.trouble, Reason.BROKER_UNAVAILABLE), why), shown)
    if not exists:
        if facts.ready is not None and (waits := _WAITED_FOR.get(facts.ready)):
            return Told(_unknown(facts.ready, f"{both}. It does not know {version} yet: {waits}."), shown)
        return Told(Cond(KIND, "False", Reason.VERSION_NOT_IN_BROKER, f"{both}, and does not know {version}."), shown)
    if not facts.records and not asked:
        why = f"{both}. Nothing is recorded: spec.recording.mode of the PactBroker is Observe."
        return Told(_drift(why), shown)
    if not _leads(facts) and not asked:
        return _left_to_another(facts, mine, version)
    if failure := facts.failed.get("RecordDeployment"):
        return _refused(facts, failure, _shown(facts, mine, running=version))
    if _noted(facts) != tidy(version) and not (facts.records and _moved(facts)):
        # Noted first: of a record that nobody knew to be the operator's own, nobody would take it back.
        noted = _shown(facts, mine, running=version, recording=version)
        return Told(
            _unknown(Reason.RECORDING, f"{version} runs: that is to be recorded."), noted, (), READ_BACK_SECONDS
        )
    done = _shown(facts, mine, memory=version, running=version, done=True)
    action = RecordDeployment(facts.pacticipant, version, facts.environment, facts.instance)
    return _with_move(facts, _recording(facts, f"{version} runs: that is being recorded.", done, [action]))


def _well(facts: RecordFacts, version: str) -> Cond:
    why = f"{version} runs, and the broker holds it as deployed in {_where(facts)}."
    return Cond(KIND, "True", Reason.DEPLOYMENT_RECORDED, why)


def _drift(why: str) -> Cond:
    return Cond(KIND, "False", Reason.DRIFT, why)


def _recording(facts: RecordFacts, why: str, shown: DeploymentStatus, actions: list[Action]) -> Told:
    looks = [Look(other.key) for other in _sharers(facts)]
    return Told(_unknown(Reason.RECORDING, why), shown, (*actions, *looks), READ_BACK_SECONDS)


def _left_to_another(facts: RecordFacts, mine: tuple[Deployed, ...], version: str | None) -> Told:
    first = _sharers(facts)[0].key
    why = f"{first.kind} {first.name!r} reads its version from the same Deployment, and records it."
    return Told(_unknown(Reason.RECORDING, why), _shown(facts, mine, running=version))


def _refused(facts: RecordFacts, failure: Failure, shown: DeploymentStatus) -> Told:
    why = f"What runs cannot be recorded in {_where(facts)}: {failure.message}"
    return Told(Cond(KIND, "False", known(failure.trouble, Reason.RECORDING), why), shown)


# --- an instance that was renamed ------------------------------------------------------------------------------------


def _moved(facts: RecordFacts) -> bool:
    """Whether what was recorded last was recorded under another application instance."""
    last = facts.last
    return (
        last is not None
        and last.recorded is not None
        and last.application_instance != facts.instance
        and _speaks(last, facts, last.application_instance)
    )


def _with_move(facts: RecordFacts, told: Told) -> Told:
    """Takes back what was recorded under the name that the instance had before, after the new record."""
    last, held = facts.last, facts.deployment.held
    if last is None or isinstance(held, Failure) or not _moved(facts) or not facts.records:
        return told
    if last.application_instance in facts.deployment.claimed:
        return told
    old = [one for one in held if one.instance == last.application_instance and tidy(one.version) == last.recorded]
    if not old:
        return told
    if failure := facts.failed.get("RecordUndeployment"):
        return _refused(facts, failure, last)
    undone = tuple(RecordUndeployment(one.uuid) for one in old)
    return replace(
        told,
        condition=_unknown(Reason.RECORDING, f"The record moves to {_where(facts)}."),
        actions=(*told.actions, *undone),
        again_in=READ_BACK_SECONDS,
    )
