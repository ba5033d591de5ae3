"""One look at one object: gather, plan, execute; and the workers that do nothing else."""

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from pact_operator.api import names
from pact_operator.api.reasons import Reason
from pact_operator.api.v1alpha1 import Object, PactBroker, PactConsumer, PactProvider, PactVerification
from pact_operator.core import gate, plan, record
from pact_operator.core.actions import Plan
from pact_operator.core.facts import Failure, Key, ProviderFacts, Settings, Trouble, WorkloadFacts
from pact_operator.core.measures import Ended, of_provider, run_ended
from pact_operator.core.naming import MAX_LABEL, label_value
from pact_operator.core.places import next_in_line
from pact_operator.engine.execute import Done, Executor, Outcome
from pact_operator.engine.gate import Gatekeeper, GateObserver
from pact_operator.engine.gather import Gatherer
from pact_operator.engine.places import broker_name, limit_of, places_of
from pact_operator.engine.queue import KeyedQueue
from pact_operator.engine.recent import Recent
from pact_operator.engine.snapshot import Body, Snapshot
from pact_operator.ports import BrokerFailureError, Brokers, Clock, Cluster, ClusterError

logger = logging.getLogger(__name__)

MODELS: Mapping[str, type[Object]] = {
    names.BROKER: PactBroker,
    names.CONSUMER: PactConsumer,
    names.PROVIDER: PactProvider,
    names.VERIFICATION: PactVerification,
}

SWEEPS_UNTIL_ALL: Final = 20
"""Sweeps of a quiet broker after which all of its providers are looked at all the same."""

_RESTLESS: Final = frozenset({str(trouble) for trouble in Trouble} | {Reason.RECORDING})
"""Reasons of the condition `Recorded` that another look may end, though nothing has changed in the broker."""
_OPEN: Final = frozenset({"Owed", "Running", "Blocked"})
"""States of a contract that will change: those of candidates are not among the numbers."""
_UNANSWERED: Final = frozenset(str(trouble) for trouble in Trouble)
"""Reasons of a condition that say that the broker was asked in vain."""

ROLE_KINDS: Mapping[str, str] = {
    names.ROLE_VERIFIER: names.VERIFICATION,
    names.ROLE_CONSUMER: names.CONSUMER,
}
"""Role of a Job or Pod -> the kind that its owner label names."""


class Observer(GateObserver, Protocol):
    """What is told of every look, every verdict and every decision of the gate; metrics implement it."""

    def looked(self, kind: str, outcome: str, seconds: float) -> None:
        """A look has ended."""

    def ended(self, run: Ended) -> None:
        """A run has got its verdict."""


class Reconciler:
    """Looks at objects, one look at a time per object.

    Args:
        snapshot: what the watches have told.
        cluster: the API server.
        brokers: the Pact Brokers.
        clock: the time.
        settings: what the operator was started with; asked at each look, since the hook token may be rotated.
        queue: where keys wait.
        observer: told of every look.
    """

    def __init__(
        self,
        *,
        snapshot: Snapshot,
        cluster: Cluster,
        brokers: Brokers,
        clock: Clock,
        settings: Callable[[], Settings],
        queue: KeyedQueue[Key],
        observer: Observer,
    ) -> None:
        self.snapshot = snapshot
        self.queue = queue
        self._brokers = brokers
        self._clock = clock
        self._settings = settings
        self._observer = observer
        self._recent = Recent(clock)
        self._cluster = cluster
        self._executor = Executor(cluster, brokers, self._look_at, self._recent, self._wrote)
        self._brokers_looked: set[Key] = set()
        """PactBrokers whose first look has ended."""
        self._brokers_seen: dict[Key, tuple[str, int]] = {}
        self._swept: dict[Key, tuple[str | None, int]] = {}
        """PactBroker -> what it told at the last sweep, and how many sweeps in a row it told the same."""
        self._workloads_seen: dict[tuple[str, str], WorkloadFacts] = {}
        self._reported: dict[Key, str] = {}
        self._opened = asyncio.Event()
        self.gate = Gatekeeper(snapshot, brokers, clock, self._asked_about, self._opened.is_set, observer)
        """Answers whether a version may go to an environment."""
        self._last_look = clock.now()

    # -- hints: they only say where to look

    def open(self) -> None:
        """Lets the workers begin: the indexes are complete. Before that a look would see half of what there is."""
        self._opened.set()

    def hint(self, key: Key, origin: str) -> None:
        """Has an object looked at now."""
        self.queue.add(key, origin)

    def hint_object(self, key: Key, body: Body) -> None:
        """One of our objects appeared, changed or went."""
        self.hint(key, "watch")
        if key.kind == names.VERIFICATION:
            provider = (body["metadata"].get("labels") or {}).get(names.LABEL_PROVIDER)
            if provider and (owner := self._named(names.PROVIDER, key.namespace, provider)):
                self.hint(owner, "verification")
        if key.kind in (names.VERIFICATION, names.PROVIDER) and self._opened.is_set():
            self._hint_next_in_line(key.namespace, broker_name(body))

    def _hint_next_in_line(self, namespace: str, broker: str) -> None:
        """A run has ended, or somebody has left the line: those whose turn it is now need not wait for the sweep."""
        limit = limit_of(self.snapshot, namespace, broker)
        places = places_of(self.snapshot, self._recent, namespace, broker, limit)
        for waiting in next_in_line(places) if places else ():
            self.hint(Key(names.PROVIDER, namespace, waiting.name), "place")

    def hint_child(self, namespace: str, labels: Mapping[str, str], origin: str) -> None:
        """A Job or Pod appeared, changed or went; its labels tell whose it is."""
        kind = ROLE_KINDS.get(labels.get(names.LABEL_ROLE, ""))
        owner = labels.get(names.LABEL_OWNER)
        if kind and owner and (key := self._named(kind, namespace, owner)):
            self.hint(key, origin)

    def hint_workload(self, namespace: str, name: str) -> None:
        """A Deployment appeared, changed or went; most changes say nothing about its version."""
        place = (namespace, name)
        workload = self.snapshot.workload(namespace, name)
        if workload is not None and self._workloads_seen.get(place) == workload:
            return
        if workload is None:
            self._workloads_seen.pop(place, None)
        else:
            self._workloads_seen[place] = workload
        for kind in (names.PROVIDER, names.CONSUMER):
            for body in self.snapshot.bodies(kind, namespace):
                source = ((body.get("spec") or {}).get("version") or {}).get("fromWorkload") or {}
                if source.get("name") == name:
                    self.hint(Key(kind, namespace, body["metadata"]["name"]), "workload")

    def hint_hook(self, key: Key, pacticipant: str | None) -> bool:
        """A broker says that something was published; nothing that it says is believed.

        Args:
            key: the PactBroker.
            pacticipant: the provider that it speaks of, if it says so.

        Returns:
            Whether there is such a PactBroker.
        """
        if self.snapshot.body(key) is None:
            return False
        for kind in (names.PROVIDER, names.VERIFICATION):
            for body in self._dependents(kind, key):
                said = pacticipant is None or (body.get("spec") or {}).get("pacticipant") == pacticipant
                if said and not (body.get("status") or {}).get("completionTime"):
                    self.hint(Key(kind, key.namespace, body["metadata"]["name"]), "hook")
        return True

    def seconds_since_last_look(self) -> float:
        """Seconds since a look last ended, or since the start."""
        return max(0.0, self._clock.now() - self._last_look)

    def _wrote(self, key: Key, body: Body, status: Mapping[str, Any]) -> None:
        if key.kind != names.VERIFICATION:
            return
        label = of_provider(body)
        owner = self._named(names.PROVIDER, key.namespace, label) if label else None
        if ended := run_ended(body, status, self.snapshot.body(owner) if owner else None):
            self._observer.ended(ended)

    def _asked_about(self, key: Key) -> None:
        self.hint(key, "gate")

    def _look_at(self, key: Key) -> None:
        self.hint(key, "plan")

    def _named(self, kind: str, namespace: str, label: str) -> Key | None:
        # A label holds a name, or its digest where the name is too long for a label.
        key = Key(kind, namespace, label)
        if self.snapshot.body(key) is not None:
            return key
        for body in self.snapshot.bodies(kind, namespace):
            name = body["metadata"]["name"]
            if len(name) > MAX_LABEL and label_value(name) == label:
                return Key(kind, namespace, name)
        return None

    def _dependents(self, kind: str, broker: Key) -> list[Body]:
        return [body for body in self.snapshot.bodies(kind, broker.namespace) if broker_name(body) == broker.name]

    # -- looks

    async def run(self, workers: int) -> None:
        """Works until cancelled.

        Args:
            workers: looks at the same time. A worker mostly waits, so there can be many of them.
        """
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._work(), name=f"worker {number}")

    async def _work(self) -> None:
        await self._opened.wait()
        while True:
            key = await self.queue.get()
            try:
                if not self.waits_for_broker(key):
                    await self.look(key)
            finally:
                self.queue.done(key)

    def waits_for_broker(self, key: Key) -> bool:
        """Whether the PactBroker of an object must be looked at before it.

        At the start everything is due at once, and what was looked at before its broker would be due once more after
        it. The broker's first look brings on all that need it, however it ends.
        """
        if key.kind == names.BROKER or (body := self.snapshot.body(key)) is None:
            return False
        broker = Key(names.BROKER, key.namespace, broker_name(body))
        if broker in self._brokers_looked or self.snapshot.body(broker) is None:
            return False
        self.hint(broker, "start")
        return True

    async def look(self, key: Key) -> Outcome:
        """Looks at one object and plans its next look; what goes wrong is logged and tried again later.

        Args:
            key: the object; one that is gone is no error.

        Returns:
            How it ended.
        """
        started = time.monotonic()
        try:
            done = await self.reconcile(key)
        except ClusterError as error:
            done = Done(Outcome.CONFLICT if error.status == 409 else Outcome.ERROR)
            if done.outcome is Outcome.ERROR:
                logger.warning("%s: %s", key, error)
        except Exception as error:  # noqa: BLE001  (one broken object must not stop the others)
            done = Done(Outcome.ERROR)
            self._report(key, error)
        else:
            self._reported.pop(key, None)
        self._plan_next(key, done)
        if key.kind == names.BROKER:
            self._first_look_ended(key)
        self._last_look = self._clock.now()
        self._observer.looked(key.kind, done.outcome, time.monotonic() - started)
        return done.outcome

    def _first_look_ended(self, broker: Key) -> None:
        if self.snapshot.body(broker) is None:
            self._brokers_looked.discard(broker)
        elif broker not in self._brokers_looked:
            self._brokers_looked.add(broker)
            self._hint_dependents(broker)

    def _plan_next(self, key: Key, done: Done) -> None:
        if done.outcome in (Outcome.FAILED, Outcome.CONFLICT, Outcome.ERROR):
            self.queue.retry(key)
            return
        self.queue.forget(key)
        if done.requeue_after is not None:
            self.queue.add(key, after=done.requeue_after)

    def _report(self, key: Key, error: Exception) -> None:
        said = repr(error)
        if self._reported.get(key) == said:
            logger.error("%s: the same again: %s", key, said)
        else:
            self._reported[key] = said
            logger.error("%s: the look failed", key, exc_info=error)

    async def reconcile(self, key: Key) -> Done:
        """Gathers, plans and executes for one object.

        Raises:
            ClusterError: the API server refused a write, or did not answer.
        """
        body = self.snapshot.body(key)
        if body is None:
            if key.kind == names.BROKER:
                self._broker_changed(key, None)
            return Done(Outcome.GONE)
        done = await self._one(key, body)
        if key.kind == names.BROKER:
            await self._sweep(key, body, within=done.requeue_after or 0.0)
        return done

    async def _one(self, key: Key, body: Body) -> Done:
        parsed = MODELS[key.kind].parse(body)
        if isinstance(parsed, str):
            message = parsed
            return await self._executor.execute(
                key, body, lambda _failed: plan.plan_invalid(body, message, self._clock.now())
            )
        facts, decide = await self._facts(parsed)
        broker = parsed if isinstance(parsed, PactBroker) else facts.broker

        def decide_now(failed: Mapping[str, Failure]) -> Plan:
            nonlocal facts
            if not failed and isinstance(facts, ProviderFacts):
                # Only now: since the broker was asked, others may have taken the places that all share.
                # The limit is that of the PactBroker that was asked: it may be gone by now.
                limit = facts.broker.spec.max_concurrent_runs if facts.broker else None
                name = facts.provider.spec.broker_ref.name
                places = places_of(self.snapshot, self._recent, key.namespace, name, limit)
                facts = dataclasses.replace(facts, places=places)
            return decide(dataclasses.replace(facts, failed=failed))

        return await self._executor.execute(key, body, decide_now, broker)

    async def _facts(self, parsed: Object) -> tuple[Any, Callable[[Any], Plan]]:
        gather = Gatherer(
            self.snapshot, self._brokers, self._clock, self._settings(), self._recent, self._cluster, self.gate
        )
        match parsed:
            case PactBroker():
                return await gather.broker(parsed), plan.plan_broker
            case PactConsumer():
                return await gather.consumer(parsed), plan.plan_consumer
            case PactProvider():
                return await gather.provider(parsed), plan.plan_provider
            case PactVerification():
                return await gather.verification(parsed), plan.plan_verification
        raise TypeError(f"no plan for {type(parsed).__name__}")

    async def _sweep(self, key: Key, broker: Body, *, within: float) -> None:
        """After a PactBroker those of its PactProviders and PactConsumers that may have something new to learn.

        One cheap question tells whether anything changed in the broker at all. If nothing did, only those are looked
        at that have not come to rest; every so often all are, since counts can hide a change. There is no hurry then:
        they are spread over the time until the next sweep, so that a broker of thousands does not get all at once.
        """
        meta = broker["metadata"]
        self._broker_changed(key, (meta.get("uid", ""), meta.get("generation", 0)))
        fingerprint = await self._fingerprint(broker)
        seen, rounds = self._swept.get(key, (None, 0))
        same = fingerprint is not None and fingerprint == seen
        all_of_them = rounds >= SWEEPS_UNTIL_ALL
        self._swept[key] = (fingerprint, rounds + 1 if same and not all_of_them else 0)
        dependents = [
            (Key(kind, key.namespace, body["metadata"]["name"]), at_rest(body))
            for kind, at_rest in ((names.PROVIDER, _at_rest), (names.CONSUMER, _consumer_at_rest))
            for body in self._dependents(kind, key)
        ]
        for number, (other, rests) in enumerate(dependents):
            if not (same and rests):
                self.hint(other, "sweep")
            elif all_of_them:
                self.queue.add(other, "sweep", after=within * number / len(dependents))

    async def _fingerprint(self, body: Body) -> str | None:
        parsed = PactBroker.parse(body)
        if isinstance(parsed, str) or parsed.spec.suspend or parsed.metadata.deletion_timestamp:
            return None
        try:
            return await self._brokers.fingerprint(parsed)
        except BrokerFailureError:
            return None

    def _broker_changed(self, key: Key, seen: tuple[str, int] | None) -> None:
        if self._brokers_seen.get(key) == seen:
            return
        if seen is None:
            del self._brokers_seen[key]
            self._swept.pop(key, None)
        else:
            self._brokers_seen[key] = seen
        self._hint_dependents(key)

    def _hint_dependents(self, key: Key) -> None:
        for kind in (names.PROVIDER, names.CONSUMER, names.VERIFICATION):
            for dependent in self._dependents(kind, key):
                self.hint(Key(kind, key.namespace, dependent["metadata"]["name"]), "broker")


def _at_rest(provider: Body) -> bool:
    """Whether the last look at a PactProvider saw its present spec, reached the broker and left nothing open."""
    status = provider.get("status") or {}
    synced = _condition(provider, "Synced").get("status") == "True"
    seen = status.get("observedGeneration") == provider["metadata"].get("generation")
    under_way = any(contract.get("state") in _OPEN for contract in status.get("contracts") or ())
    return bool(synced and seen and status.get("owed") == 0 and not under_way and _consumer_at_rest(provider))


def _consumer_at_rest(body: Body) -> bool:
    """Whether the last look at an object could compare what runs with the broker's record, and ask the gate."""
    asked_in_vain = _condition(body, gate.KIND).get("reason") in _UNANSWERED
    return not asked_in_vain and _condition(body, record.KIND).get("reason") not in _RESTLESS


def _condition(body: Body, kind: str) -> Mapping[str, Any]:
    conditions = (body.get("status") or {}).get("conditions") or ()
    return next((condition for condition in conditions if condition["type"] == kind), {})
