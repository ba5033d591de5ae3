"""Whatever happens, in whatever order: the record is never wrong by the operator's doing, and it comes right."""

from dataclasses import dataclass, field, replace
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from pact_operator.api import names
from pact_operator.api.reasons import Reason
from pact_operator.api.v1alpha1 import DeploymentStatus
from pact_operator.core.actions import Look, RecordDeployment, RecordUndeployment
from pact_operator.core.facts import Deployed, DeploymentFacts, Failure, Key, Sharer, Trouble, WorkloadFacts
from pact_operator.core.record import RecordFacts, asks_for_version, recorded
from pact_operator.core.rollout import Rollout
from pact_operator.core.versions import Unresolved

PROVIDER: Final = Key(names.PROVIDER, "team", "users")
CONSUMER: Final = Key(names.CONSUMER, "team", "users")
VERSIONS: Final = ("1", "2", "3")
ACTS: Final = (
    "look",
    "look and die",
    "look in an outage",
    "look and lose the answer",
    "roll out",
    "complete",
    "fail",
    "scale to zero",
    "delete",
    "learn",
    "record by hand",
    "undeploy by hand",
    "lose the status",
    "observe or record",
    "ask",
)


@dataclass
class World:
    """A Deployment, one or two objects that read its version, and the record of a broker."""

    objects: tuple[Key, ...]
    version: str = "1"
    rollout: Rollout | None = Rollout.PROGRESSING
    known: set[str] = field(default_factory=set)
    held: list[Deployed] = field(default_factory=list)
    statuses: dict[Key, DeploymentStatus] = field(default_factory=dict)
    records: bool = True
    request: str | None = None
    now: float = 1_800_000_000.0
    number: int = 0
    ours: set[str] = field(default_factory=set)
    """Ids of records that the operator made, or that an object has seen while it ran that version."""
    made: set[str] = field(default_factory=set)
    """Ids of records that the operator made while it remembered all that it did."""
    settled: bool = False
    """What runs was recorded or adopted by the first of the objects, and nobody has asked for anything since."""

    def facts(self, key: Key, failed: dict[str, Failure] | None = None) -> RecordFacts:
        workload = (
            None if self.rollout is None else WorkloadFacts("users", {"app": f"users:{self.version}"}, {}, self.rollout)
        )
        version = self.version if workload else Unresolved(Reason.WORKLOAD_NOT_FOUND, "It is gone.")
        held = tuple(self.held)
        asks = asks_for_version(version, workload, held, None)
        others = tuple(
            Sharer(other, "users", version if isinstance(version, str) else None, self.statuses.get(other))
            for other in self.objects
            if other != key
        )
        return RecordFacts(
            key=key,
            pacticipant="users",
            broker="http://broker",
            environment="test",
            records=self.records,
            instance=None,
            workload="users",
            rollout=self.rollout,
            version=version,
            deployment=DeploymentFacts(held, self.version in self.known if asks else None, others),
            now=self.now,
            last=self.statuses.get(key),
            request=self.request,
        )

    def asked(self, key: Key) -> bool:
        last = self.statuses.get(key)
        return self.request is not None and (last is None or last.request != self.request)

    def look(self, key: Key, *, dies: bool = False, loses_answer: bool = False) -> bool:
        """Looks at an object; returns whether anything was recorded or written."""
        self.now += 1
        asked = self.asked(key)
        facts = self.facts(key)
        told = recorded(facts)
        failed: dict[str, Failure] = {}
        acted = False
        for action in told.actions:
            match action:
                case RecordDeployment(_, version, _, _):
                    acted = True
                    assert version in self.known, "a version that the broker does not know"
                    assert (self.rollout, self.version) == (Rollout.COMPLETE, version), "an incomplete rollout"
                    assert {one.version for one in self.held} != {version}, "recorded twice"
                    assert self.records or asked, "only observed"
                    assert asked or not self.settled, "a fight"
                    self.by_hand(version)
                    self.ours.add(self.held[0].uuid)
                    self.made.add(self.held[0].uuid)
                case RecordUndeployment(uuid):
                    acted = True
                    assert self.rollout in (Rollout.NOTHING, None), "something runs"
                    assert self.records or asked, "only observed"
                    assert asked or uuid in self.ours, "it is somebody else's"
                    self.held = [one for one in self.held if one.uuid != uuid]
                case Look():
                    continue
            if loses_answer:
                failed[type(action).__name__] = Failure(Trouble.UNAVAILABLE, "No answer.")
        if dies:
            return acted
        if failed:
            told = recorded(replace(facts, failed=failed))
        wrote = self.statuses.get(key) != told.deployment
        self.statuses[key] = told.deployment
        runs = self.version if self.rollout is Rollout.COMPLETE else None
        self.ours |= {one.uuid for one in self.held if one.version == runs}
        if key == self.objects[0] and not failed:
            self.settled = runs is not None and told.deployment.recorded == runs
        return acted or wrote

    def by_hand(self, version: str) -> None:
        """The broker records a version in place of what it held; the same once more changes nothing."""
        if {one.version for one in self.held} != {version}:
            self.number += 1
            self.held = [Deployed(f"id-{self.number}", version)]

    def act(self, what: str, pick: int) -> None:
        key = self.objects[pick % len(self.objects)]
        match what:
            case "look":
                self.look(key)
            case "look and die":
                self.look(key, dies=True)
            case "look and lose the answer":
                self.look(key, loses_answer=True)
            case "look in an outage":
                last = self.statuses.get(key)
                down = DeploymentFacts(Failure(Trouble.UNAVAILABLE, "It does not answer."))
                told = recorded(replace(self.facts(key), deployment=down))
                assert told.actions == ()
                assert last is None or told.deployment == last
            case "lose the status":
                self.statuses.pop(key, None)
                self.made.clear()
                self.settled &= key != self.objects[0]
            case _:
                self.happens(what, VERSIONS[pick % len(VERSIONS)])

    def happens(self, what: str, version: str) -> None:
        match what:
            case "roll out":
                self.settled &= version == self.version and self.rollout is Rollout.COMPLETE
                self.version, self.rollout = version, Rollout.PROGRESSING
            case "complete" if self.rollout in (Rollout.PROGRESSING, Rollout.FAILED):
                self.rollout = Rollout.COMPLETE
            case "fail" if self.rollout is Rollout.PROGRESSING:
                self.rollout = Rollout.FAILED
            case "scale to zero" if self.rollout is not None:
                self.rollout, self.settled = Rollout.NOTHING, False
            case "delete":
                self.rollout, self.settled = None, False
            case "learn":
                self.known.add(version)
            case "record by hand" if version in self.known:
                self.by_hand(version)
            case "undeploy by hand":
                self.held = []
            case "observe or record":
                self.records = not self.records
                self.settled = False
            case "ask":
                self.request = f"at {self.now}"


ACT: Final = st.tuples(st.sampled_from(ACTS), st.integers(0, 5))


@settings(deadline=None)
@given(st.sampled_from([(PROVIDER,), (CONSUMER,), (PROVIDER, CONSUMER)]), st.lists(ACT, max_size=60))
def test_whatever_happens_the_record_is_never_wrong_by_the_operators_doing(
    objects: tuple[Key, ...], acts: list[tuple[str, int]]
) -> None:
    world = World(objects)
    for what, pick in acts:
        world.act(what, pick)
    # Then all comes to rest: nothing is left to do, and it stays so.
    for _ in range(4):
        for key in objects:
            world.look(key)
    assert not any(world.look(key) for key in objects)
    told = [recorded(world.facts(key)) for key in objects]
    assert len({(one.condition.status, one.condition.reason) for one in told}) == 1, "all objects say the same"
    if world.records and world.rollout in (Rollout.NOTHING, None):
        assert not world.made & {one.uuid for one in world.held}, "nobody takes back what the operator has recorded"
    if world.rollout is Rollout.COMPLETE and told[0].condition.status == "True":
        assert {one.version for one in world.held} == {world.version}


@settings(deadline=None)
@given(st.sampled_from([(PROVIDER,), (PROVIDER, CONSUMER)]), st.lists(ACT, max_size=40))
def test_the_next_version_that_is_rolled_out_is_recorded(objects: tuple[Key, ...], acts: list[tuple[str, int]]) -> None:
    world = World(objects)
    for what, pick in acts:
        world.act(what, pick)
    world.records, world.version, world.rollout, world.settled = True, "4", Rollout.COMPLETE, False
    world.known.add("4")
    for _ in range(3):
        for key in objects:
            world.look(key)
    assert [one.version for one in world.held] == ["4"]
    assert {recorded(world.facts(key)).condition.reason for key in objects} == {"DeploymentRecorded"}
    world.rollout, world.settled = Rollout.NOTHING, False
    for _ in range(3):
        for key in objects:
            world.look(key)
    assert world.held == []
    assert {recorded(world.facts(key)).condition.reason for key in objects} == {"NothingDeployed"}
