"""Answers the gate's question for whoever asks: HTTP, admission, and the looks that state the condition `Deployable`.

Whoever waits gets an answer within two seconds, if only that it cannot be told. Equal questions that come together
share one answer of the broker; different ones wait for one of a few places, so that many at once are no storm for it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from pact_operator.api import names
from pact_operator.api.reasons import Reason
from pact_operator.api.v1alpha1 import GateSpec, PactBroker, PactProvider
from pact_operator.core import versions
from pact_operator.core.facts import Failure, GateFacts, Key, Matrix, Obstacle, Question, Verifier
from pact_operator.core.gate import Decision, Verdict, decide, ignored_now, involved
from pact_operator.core.outcome import known
from pact_operator.core.times import parse
from pact_operator.engine.snapshot import Snapshot
from pact_operator.ports import BrokerFailureError, Brokers, Clock, ClusterError

logger = logging.getLogger(__name__)

CANDIDATE_SECONDS: Final = 3600.0
"""How long a version that was asked about is one that matters."""
_RENEW_SECONDS: Final = 1800.0
"""What must be left of that for another question not to change it: a status is not written at every question."""
_WORDS_SECONDS: Final = 0.3
"""How long a refusal waits for the broker's words on what is broken."""
_WORDS: Final = 3
"""Broken contracts whose words are asked for."""


class GateObserver(Protocol):
    """What is told of every decision that somebody asked for; metrics implement it."""

    def decided(self, verdict: str, reason: str, *, granted: bool, shadow: bool) -> None:
        """The gate has answered."""


@dataclass(slots=True)
class _Flight:
    """One question that is being asked of the broker."""

    task: "asyncio.Task[Matrix | Obstacle]"


@dataclass(slots=True)
class Gatekeeper:
    """Answers questions, and remembers which versions were asked about to be verified.

    Args:
        snapshot: what the watches have told.
        brokers: the Pact Brokers.
        clock: the time.
        hint: has an object looked at now.
        opened: whether the snapshot is complete.
        observer: told of every decision that somebody asked for.
    """

    snapshot: Snapshot
    brokers: Brokers
    clock: Clock
    hint: Callable[[Key], None]
    opened: Callable[[], bool]
    observer: GateObserver
    _flights: dict[tuple[Key, str, int, Question], _Flight] = field(default_factory=dict)
    _candidates: dict[Key, dict[str, float]] = field(default_factory=dict)
    """PactProvider -> version that was asked about -> until when it matters."""

    async def answer(self, broker: Key, question: Question, *, verify: bool = False) -> Decision:
        """Answers within two seconds.

        Args:
            broker: key of the PactBroker.
            question: who wants to go where.
            verify: whether a version without results is to be verified.

        Returns:
            The decision. A PactBroker that is not there is one with the reason `BrokerNotFound`.
        """
        found = self._broker(broker)
        if verify and self.opened():
            self.want(broker, question)
        facts = await self._facts(broker, found, question)
        decision = decide(facts)
        if decision.verdict is Verdict.BROKEN and found is not None:
            words: dict[str, str] = {}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WORDS_SECONDS):
                    await self._words(found, decision, words)
            decision = decide(replace(facts, mismatches=words))
        self.observer.decided(
            str(decision.verdict), str(decision.reason), granted=decision.granted, shadow=decision.shadow
        )
        return decision

    def environment(self, broker: Key) -> str | None:
        """The environment that the namespace of a PactBroker is to it; None if it does not say so.

        Empty while it cannot be told: then the answer is that it cannot.
        """
        found = self._broker(broker)
        if found is None:
            return ""
        return found.spec.environment.name if found.spec.environment is not None else None

    async def facts(self, broker: PactBroker, question: Question) -> GateFacts:
        """What a look at a PactConsumer or PactProvider decides on; the broker may take its time.

        Args:
            broker: the PactBroker, which is not suspended.
            question: the object's own version, and the PactBroker's environment.
        """
        try:
            matrix: Matrix | Obstacle = await self.brokers.can_i_deploy(
                broker, question, ignored_now(broker.spec.gate, self.clock.now()), hasty=False
            )
        except BrokerFailureError as error:
            matrix = obstacle(error.failure)
        facts = self._told(broker, question, matrix)
        if isinstance(matrix, Matrix) and (decision := decide(facts)).verdict is Verdict.BROKEN:
            words: dict[str, str] = {}
            await self._words(broker, decision, words)
            facts = replace(facts, mismatches=words)
        return facts

    def unanswered(self, broker: PactBroker, question: Question, failure: Failure) -> GateFacts:
        """The same where the broker has just failed to answer something else: it is not asked in vain."""
        return self._told(broker, question, obstacle(failure))

    def candidates(self, provider: PactProvider) -> Mapping[str, float]:
        """Versions that a PactProvider was asked to have verified: version -> until when they matter.

        What this process was asked, and what it wrote into the status before a restart.
        """
        meta, now = provider.metadata, self.clock.now()
        key = Key(names.PROVIDER, meta.namespace, meta.name)
        found = {candidate.version: parse(candidate.until) for candidate in provider.status.candidates}
        for version, until in self._candidates.get(key, {}).items():
            found[version] = max(until, found.get(version, 0.0))
        bound = now + CANDIDATE_SECONDS
        alive = {version: until for version, until in found.items() if now < until <= bound}
        newest = sorted(alive, key=lambda version: alive[version], reverse=True)[: versions.MAX_CANDIDATES]
        kept = {version: alive[version] for version in newest}
        if kept:
            self._candidates[key] = dict(kept)
        else:
            self._candidates.pop(key, None)
        return kept

    # -- the broker

    async def _facts(self, key: Key, broker: PactBroker | None, question: Question) -> GateFacts:
        if not self.opened():
            why = "The operator has just started, and is still reading its objects."
            return self._without(broker, question, Reason.OPERATOR_STARTING, why)
        if broker is None:
            why = f"There is no PactBroker {key.name!r} in namespace {key.namespace!r} that can be used."
            return self._without(None, question, Reason.BROKER_NOT_FOUND, why)
        if broker.spec.suspend:
            why = f"PactBroker {key.name!r} is suspended; set its spec.suspend to false to go on."
            return self._without(broker, question, Reason.SUSPENDED, why)
        return self._told(broker, question, await self._shared(key, broker, question))

    async def _shared(self, key: Key, broker: PactBroker, question: Question) -> Matrix | Obstacle:
        place = (key, broker.metadata.uid, broker.metadata.generation, question)
        flight = self._flights.get(place)
        if flight is None:
            flight = _Flight(asyncio.create_task(self._ask(broker, question), name="gate"))
            self._flights[place] = flight
            flight.task.add_done_callback(lambda _task: self._flights.pop(place, None))
        # One who goes away does not take the answer from the others.
        return await asyncio.shield(flight.task)

    async def _ask(self, broker: PactBroker, question: Question) -> Matrix | Obstacle:
        ignore = ignored_now(broker.spec.gate, self.clock.now())
        try:
            return await self.brokers.can_i_deploy(broker, question, ignore, hasty=True)
        except BrokerFailureError as error:
            return obstacle(error.failure)
        except ClusterError as error:
            return Obstacle(Reason.CREDENTIALS_NOT_FOUND, f"The broker's credentials cannot be read: {error}")
        except Exception:
            # Whoever asks must get an answer; that there is a bug stands in the log.
            logger.exception("gate: %s", question)
            return Obstacle(Reason.BROKER_UNAVAILABLE, "The gate has failed; the operator's log says how.")

    async def _words(self, broker: PactBroker, decision: Decision, found: dict[str, str]) -> None:
        """Puts the broker's words on what is broken into `found`, where no PactProvider has any."""
        wordless = [
            contract.result_url
            for contract in decision.contracts
            if contract.state == "Failed" and not contract.ignored and not contract.message and contract.result_url
        ]
        try:
            for url in wordless[:_WORDS]:
                found[url] = await self.brokers.mismatch(broker, url)
        except (BrokerFailureError, ClusterError) as error:
            # The verdict stands without them.
            logger.debug("gate: no words for what is broken: %s", error)

    # -- the snapshot

    def _broker(self, key: Key) -> PactBroker | None:
        body = self.snapshot.body(key)
        parsed = PactBroker.parse(body) if body is not None else None
        return parsed if isinstance(parsed, PactBroker) else None

    def _without(self, broker: PactBroker | None, question: Question, reason: Reason, why: str) -> GateFacts:
        policy = broker.spec.gate if broker is not None else GateSpec()
        return GateFacts(question, Obstacle(reason, why), policy, self.clock.now())

    def _told(self, broker: PactBroker, question: Question, matrix: Matrix | Obstacle) -> GateFacts:
        namespace, name = broker.metadata.namespace, broker.metadata.name
        return GateFacts(
            question,
            matrix,
            broker.spec.gate,
            self.clock.now(),
            verifiers=tuple(self._verifiers(namespace, name, involved(question, matrix))),
            publishes=bool(self._named(names.CONSUMER, namespace, name, {question.pacticipant})),
        )

    def _verifiers(self, namespace: str, broker: str, pacticipants: set[str]) -> Iterable[Verifier]:
        for body in self._named(names.PROVIDER, namespace, broker, pacticipants):
            provider = PactProvider.parse(body)
            if isinstance(provider, PactProvider):
                yield self.verifier(provider)

    def verifier(self, provider: PactProvider) -> Verifier:
        """What a PactProvider knows, as far as its status tells."""
        status, spec = provider.status, provider.spec
        synced = any(c.type == "Synced" and c.status == "True" for c in status.conditions)
        seen = [status.version] if synced and status.version else []
        seen += [candidate.version for candidate in status.candidates]
        seen += [contract.provider_version for contract in status.contracts]
        return Verifier(
            provider.metadata.name,
            spec.pacticipant,
            versions=tuple(dict.fromkeys(seen)),
            asked=tuple(self.candidates(provider)),
            any_version=versions.runs_any_version(spec.target),
            contracts=tuple(status.contracts),
        )

    def _named(self, kind: str, namespace: str, broker: str, pacticipants: set[str]) -> list[Mapping[str, Any]]:
        found = []
        for body in self.snapshot.bodies(kind, namespace):
            spec = body.get("spec")
            ref = spec.get("brokerRef") if isinstance(spec, Mapping) else None
            ours = isinstance(ref, Mapping) and ref.get("name") == broker
            if ours and isinstance(spec, Mapping) and spec.get("pacticipant") in pacticipants:
                found.append(body)
        return found

    # -- versions that are to be verified

    def want(self, broker: Key, question: Question) -> None:
        """Makes a version one that matters, for an hour, to the PactProviders that can start it.

        One that has as many as it may has room again once the oldest of them has its results.

        Args:
            broker: key of the PactBroker.
            question: only the pacticipant and the version are taken from it.
        """
        namespace = broker.namespace
        for body in self._named(names.PROVIDER, namespace, broker.name, {question.pacticipant}):
            provider = PactProvider.parse(body)
            if not isinstance(provider, PactProvider) or provider.spec.suspend:
                continue
            if not versions.can_be_started(question.version, provider.spec.target):
                continue
            key = Key(names.PROVIDER, namespace, provider.metadata.name)
            wanted = dict(self.candidates(provider))
            now = self.clock.now()
            full = question.version not in wanted and len(wanted) >= versions.MAX_CANDIDATES
            if full and _under_way(provider, min(wanted, key=lambda version: wanted[version])):
                # Else whoever asks in a loop would have run after run begun, and none ended.
                continue
            if wanted.get(question.version, 0.0) - now < _RENEW_SECONDS:
                self._candidates.setdefault(key, {})[question.version] = now + CANDIDATE_SECONDS
                self.hint(key)


def _under_way(provider: PactProvider, version: str) -> bool:
    """Whether a candidate has not been looked at yet, or waits for a run of its own to end."""
    status = provider.status
    return all(candidate.version != version for candidate in status.candidates) or any(
        contract.provider_version == version and contract.state in ("Owed", "Running") for contract in status.contracts
    )


def obstacle(failure: Failure) -> Obstacle:
    """Why the broker did not answer, as the gate says it."""
    return Obstacle(known(failure.trouble, Reason.BROKER_UNAVAILABLE), failure.message)
