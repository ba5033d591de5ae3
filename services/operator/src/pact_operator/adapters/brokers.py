"""Pact Brokers, through `brokerclient`; the `Brokers` port.

The client is synchronous: each request has a thread of its own, few at a time per broker, so that a broker that hangs
delays nobody but those who ask it. Threads are daemons: one that hangs does not keep the process from ending.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from brokerclient import (
    BasicAuth,
    BearerAuth,
    BrokerClient,
    BrokerError,
    BrokerUnauthorized,
    BrokerUnavailable,
    CanIDeploy,
    DeployedVersion,
    Environment,
    InvalidRequest,
    NotFound,
    ProtocolError,
    ReleasedVersion,
    VerificationResult,
)
from pact_operator.api.v1alpha1 import PactBroker, Selector
from pact_operator.core.facts import Contract, Deployed, Failure, GateRow, Matrix, Question, Result, Trouble
from pact_operator.core.selectors import wire
from pact_operator.ports import HASTY_SECONDS, BrokerFailureError, ClusterError

logger = logging.getLogger(__name__)

T = TypeVar("T")
ReadSecret = Callable[[str, str], Awaitable[Mapping[str, str] | None]]

_SECRET_SECONDS: Final = 30.0
"""How long a Secret is believed; one that the broker refuses is read again at once."""
_DOWN_SECONDS: Final = 3.0
"""How long nobody else is sent to a broker that did not answer; its own check still is."""
_IN_USE_SECONDS: Final = 10.0
"""How long it is believed what is deployed: all objects of one sweep share one answer."""
_VERSIONS: Final = 2000
"""Versions that a broker is remembered to know."""
_THREADS: Final = 4
"""Requests to one broker at the same time."""
_HASTY_THREADS: Final = 3
"""And for those that somebody waits for: neither they nor the looks can keep each other from the broker."""
_TURNS: Final = 5
"""Turns of the event loop from the end of a thread to the answer that it was asked for."""
_GATE_SECONDS: Final = 2.0
"""How long the gate believes what is in an environment: questions that come together share one answer."""
_GATE_ROWS: Final = (1000, 10_000)
"""Rows of a matrix that the gate asks for: one that has more than it was sent might hide a broken one."""
_MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""Some ten thousand rows of a matrix; what a hostile broker can make the operator hold is a multiple of it."""
_DETAILS: Final = 2000
"""Mismatches remembered; a result in the broker never changes."""
_MISMATCH: Final = 500


class BrokerThreads:
    """All Pact Brokers that this operator speaks to.

    Args:
        read_secret: `Cluster.secret`.
        hook_token: the token that webhooks carry, read anew each time.
        observe: called with operation and outcome of each request, for metrics.
        timeout: seconds that a broker may take for each part of an answer.
        patience: seconds that a caller waits in all, a free thread included.
    """

    def __init__(
        self,
        read_secret: ReadSecret,
        hook_token: Callable[[], str],
        *,
        observe: Callable[[str, str], None] = lambda _operation, _outcome: None,
        timeout: float = 10.0,
        patience: float = 25.0,
    ) -> None:
        self._read_secret = read_secret
        self._hook_token = hook_token
        self._observe = observe
        self._timeout = timeout
        self._patience = patience
        self._brokers: dict[tuple[str, str], _Broker] = {}
        self._details: OrderedDict[str, str] = OrderedDict()
        self._ca_files = Path(tempfile.mkdtemp(prefix="pact-operator-ca-"))

    def close(self) -> None:
        """Closes connections and removes what was written to disk; requests under way end by themselves."""
        for known in self._brokers.values():
            known.close()
            known.threads.close()
            known.haste.close()
        self._brokers.clear()
        shutil.rmtree(self._ca_files, ignore_errors=True)

    async def check(self, broker: PactBroker) -> None:
        """Asks the broker's index; see the port."""
        await self._ask(broker, "check", lambda client: client.check(), even_if_down=True)

    async def fingerprint(self, broker: PactBroker) -> str | None:
        """A digest of the broker's own counts; see the port."""
        counts = await self._ask(broker, "counts", lambda client: client.counts())
        if counts is None:
            return None
        # Deliveries of webhooks, our own among them, say nothing about contracts.
        told = {name: value for name, value in counts.items() if name not in ("triggeredWebhooks", "webhookExecutions")}
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
        known = self._known(broker)
        if known.fingerprint != digest:
            # Those who are to look now, because something has changed, must not get the answer of before.
            known.fingerprint = digest
            known.forget_standing()
        return digest

    async def contracts(
        self,
        broker: PactBroker,
        provider: str,
        selectors: Sequence[Selector],
        *,
        branch: str | None,
        enable_pending: bool,
        wip_since: str | None,
    ) -> tuple[Contract, ...]:
        """Contracts in scope of the selectors; see the port."""
        found = await self._ask(
            broker,
            "pacts_for_verification",
            lambda client: client.pacts_for_verification(
                provider,
                selectors=wire(selectors),
                provider_branch=branch,
                include_pending=enable_pending,
                include_wip_since=wip_since,
            ),
        )
        return tuple(Contract(pact.consumer, pact.content_sha, pact.url, pact.pending or pact.wip) for pact in found)

    async def results(self, broker: PactBroker, provider: str, version: str) -> Mapping[tuple[str, str], Result]:
        """Last result per consumer and content; see the port."""

        def ask(client: BrokerClient) -> dict[tuple[str, str], Result]:
            found = sorted(client.verification_results(provider, version), key=lambda result: result.verified_at)
            published: dict[tuple[str, str], str] = {}
            for one in found:
                key = (one.consumer, one.content_sha)
                published[key] = min(published.get(key) or one.published_at, one.published_at)
            return {
                (one.consumer, one.content_sha): Result(
                    consumer=one.consumer,
                    content_sha=one.content_sha,
                    success=one.success,
                    url=one.url,
                    mismatch=self._mismatch(client, one),
                    published_at=published[one.consumer, one.content_sha],
                )
                for one in found
            }

        return await self._ask(broker, "verification_results", ask)

    def _mismatch(self, client: BrokerClient, result: VerificationResult) -> str:
        return "" if result.success else self._first_mismatch(client, result.url)

    def _first_mismatch(self, client: BrokerClient, url: str) -> str:
        known = self._details.get(url)
        if known is None:
            try:
                known = first_mismatch(client.verification_result(url).test_results)
            except (NotFound, ProtocolError):
                # Only the words are missing: the result itself stands.
                return ""
            self._details[url] = known
            while len(self._details) > _DETAILS:
                self._details.popitem(last=False)
        return known

    async def in_use(self, broker: PactBroker) -> Mapping[str, tuple[str, ...]]:
        """Versions deployed, or released and supported; see the port. Asked once for all who look at the same time."""

        def ask(client: BrokerClient, standing: _Standing) -> dict[str, tuple[str, ...]]:
            return standing.versions(client, standing.environments(client))

        return await self._ask_standing(broker, "in_use", "", ask)

    async def deployed(self, broker: PactBroker, environment: str) -> Mapping[str, tuple[Deployed, ...]]:
        """What is deployed in an environment; see the port. Asked once for all who look at the same time."""

        def ask(client: BrokerClient, standing: _Standing) -> dict[str, tuple[Deployed, ...]]:
            found: dict[str, list[Deployed]] = {}
            for one in standing.deployed(client, standing.environment(client, environment)):
                held = Deployed(one.uuid, one.version, one.application_instance or None)
                found.setdefault(one.pacticipant, []).append(held)
            return {pacticipant: tuple(held) for pacticipant, held in found.items()}

        return await self._ask_standing(broker, "deployed", environment, ask)

    async def _ask_standing(
        self, broker: PactBroker, operation: str, where: str, question: "Callable[[BrokerClient, _Standing], T]"
    ) -> T:
        """Asks what is deployed and released, as far as it is not known from a moment ago."""
        known = self._known(broker)
        async with known.standing_lock:
            standing = known.standing
            if standing is None or time.monotonic() >= standing.until:
                standing = _Standing(time.monotonic() + _IN_USE_SECONDS)
            if (operation, where) in standing.answers:
                told: T = standing.answers[operation, where]
                return told
            # A copy: a request that was given up may go on, and what it then learns must not be believed later.
            learnt, written = standing.copy(), known.written
            answer = await self._ask(broker, operation, lambda client: question(client, learnt))
            learnt.answers[operation, where] = answer
            # What was written meanwhile may be missing in it: then it is for this one caller alone.
            known.standing = learnt if written == known.written else None
            return answer

    async def has_version(self, broker: PactBroker, pacticipant: str, version: str) -> bool:
        """Whether a version exists; see the port. That one does is remembered: brokers seldom lose versions."""
        known = self._known(broker)
        if (pacticipant, version) in known.versions:
            return True
        found = await self._ask(broker, "version", lambda client: client.version(pacticipant, version))
        if found is not None:
            known.versions[pacticipant, version] = None
            while len(known.versions) > _VERSIONS:
                known.versions.popitem(last=False)
        return found is not None

    async def record_deployment(
        self, broker: PactBroker, pacticipant: str, version: str, environment: str, instance: str | None
    ) -> None:
        """Records that a version runs; see the port."""
        known = self._known(broker)

        def record(client: BrokerClient) -> None:
            # Found anew: an environment that was made again has another id.
            place = _Standing(0.0).environment(client, environment)
            client.record_deployment(pacticipant, version, place.uuid, application_instance=instance)

        try:
            await self._ask(broker, "record_deployment", record, write=True)
        except BrokerFailureError:
            # Perhaps the version is gone.
            known.versions.pop((pacticipant, version), None)
            raise
        finally:
            known.forget_standing()

    async def record_undeployment(self, broker: PactBroker, uuid: str) -> None:
        """Records that a deployed version no longer runs; see the port."""

        def record(client: BrokerClient) -> None:
            with contextlib.suppress(NotFound):
                client.record_undeployment(uuid)

        try:
            await self._ask(broker, "record_undeployment", record, write=True)
        finally:
            self._known(broker).forget_standing()

    async def can_i_deploy(
        self, broker: PactBroker, question: Question, ignore: Sequence[str], *, hasty: bool
    ) -> Matrix:
        """What the broker says to the gate's question; see the port."""
        if not hasty:
            return await self._can_i_deploy(broker, question, ignore, hasty=False)
        haste, started = self._known(broker).haste, time.monotonic()
        if (reject := haste.reject(broker)) is not None:
            self._observe("can_i_deploy", "skipped")
            raise BrokerFailureError(reject)
        try:
            return await _within(HASTY_SECONDS, self._can_i_deploy(broker, question, ignore, hasty=True))
        except TimeoutError as error:
            raise BrokerFailureError(haste.late(broker, started)) from error

    async def _can_i_deploy(
        self, broker: PactBroker, question: Question, ignore: Sequence[str], *, hasty: bool
    ) -> Matrix:
        asked = await self._ask(
            broker, "can_i_deploy", lambda client: _can_i_deploy(client, question, ignore), hasty=hasty
        )
        if isinstance(asked, Failure):
            raise BrokerFailureError(asked)
        if not any(row.consumer == question.pacticipant for row in asked.rows):
            return asked
        # Asked after the rows: what was deployed meanwhile has none, and holds the version up rather than slips by.
        there = await self._in_environment(broker, question.environment, hasty=hasty)
        return replace(asked, in_environment=there)

    async def _in_environment(
        self, broker: PactBroker, environment: str, *, hasty: bool
    ) -> Mapping[str, tuple[str, ...]]:
        def ask(client: BrokerClient, standing: _Standing) -> dict[str, tuple[str, ...]]:
            return standing.versions(client, [standing.environment(client, environment)])

        if not hasty:
            return await self._ask_standing(broker, "in_environment", environment, ask)
        # Not what a sweep was told some seconds ago: a rollout may hang on it.
        shared = self._known(broker).there.setdefault(environment, _There())
        async with shared.lock:
            if time.monotonic() >= shared.until:
                shared.versions = await self._ask(
                    broker, "in_environment", lambda client: ask(client, _Standing(0.0)), hasty=True
                )
                shared.until = time.monotonic() + _GATE_SECONDS
            return shared.versions

    async def mismatch(self, broker: PactBroker, result_url: str) -> str:
        """The first mismatch of a result; see the port."""
        if (known := self._details.get(result_url)) is not None:
            return known
        return await self._ask(
            broker, "verification_result", lambda client: self._first_mismatch(client, result_url), hasty=True
        )

    async def main_branch(self, broker: PactBroker, pacticipant: str) -> str | None:
        """The main branch of a pacticipant; see the port."""
        found = await self._ask(broker, "pacticipant", lambda client: client.pacticipant(pacticipant))
        return (found.main_branch or None) if found else None

    async def ensure_main_branch(self, broker: PactBroker, pacticipant: str, branch: str) -> None:
        """Makes pacticipant and main branch where they are missing; see the port."""
        await self._ask(
            broker,
            "ensure_main_branch",
            lambda client: client.ensure_pacticipant(pacticipant, main_branch=branch),
            write=True,
        )

    async def environments(self, broker: PactBroker) -> frozenset[str]:
        """Names of the broker's environments; see the port."""
        found = await self._ask(broker, "environments", lambda client: client.environments())
        return frozenset(environment.name for environment in found)

    async def ensure_environment(
        self, broker: PactBroker, name: str, display_name: str | None, production: bool
    ) -> None:
        """Makes an environment unless it exists; see the port."""
        await self._ask(
            broker,
            "ensure_environment",
            lambda client: client.ensure_environment(name, display_name=display_name, production=production),
            write=True,
        )
        self._known(broker).forget_standing()

    async def webhook(self, broker: PactBroker, uuid: str) -> Mapping[str, Any] | None:
        """Reads a webhook; see the port."""
        found = await self._ask(broker, "webhook", lambda client: client.webhook(uuid))
        return None if found is None else found.definition

    async def put_webhook(self, broker: PactBroker, uuid: str, definition: Mapping[str, Any]) -> None:
        """Puts a webhook, the hook token added; see the port."""
        request = dict(definition.get("request") or {})
        request["headers"] = {**(request.get("headers") or {}), "Authorization": f"Bearer {self._hook_token()}"}
        await self._ask(
            broker,
            "put_webhook",
            lambda client: client.put_webhook(uuid, {**definition, "request": request}),
            write=True,
        )

    async def delete_webhook(self, broker: PactBroker, uuid: str) -> None:
        """Deletes a webhook; see the port."""
        await self._ask(broker, "delete_webhook", lambda client: client.delete_webhook(uuid), write=True)

    async def _ask(
        self,
        broker: PactBroker,
        operation: str,
        question: Callable[[BrokerClient], T],
        *,
        write: bool = False,
        even_if_down: bool = False,
        hasty: bool = False,
    ) -> T:
        known = self._known(broker)
        outcome = "error"
        try:
            if not even_if_down and (failure := known.failure_while_down()) is not None:
                outcome = "skipped"
                raise BrokerFailureError(failure)
            # Whoever is in haste has a shorter time for all that he asks.
            async with asyncio.timeout(None if hasty else self._patience):
                answer = await self._with_credentials(known, broker, question, write=write, hasty=hasty)
        except BrokerError as error:
            failure = _failure(error, broker, write=write)
            outcome = str(failure.trouble)
            # A broker that is merely slow for somebody in a hurry is not down for the rest.
            if isinstance(error, BrokerUnavailable) and error.status is None and not hasty:
                known.went_down(failure)
            raise BrokerFailureError(failure) from error
        except TimeoutError as error:
            failure = _failure(BrokerUnavailable(_slow(broker, self._patience)), broker, write=write)
            outcome = str(failure.trouble)
            known.went_down(failure)
            raise BrokerFailureError(failure) from error
        except asyncio.CancelledError:
            outcome = str(Trouble.UNAVAILABLE)
            raise
        else:
            outcome = "ok"
            known.answered()
            return answer
        finally:
            self._observe(operation, outcome)

    async def _with_credentials(
        self, known: "_Broker", broker: PactBroker, question: Callable[[BrokerClient], T], *, write: bool, hasty: bool
    ) -> T:
        run = known.haste.run if hasty else known.threads.run
        client = await self._client(known, broker, write=write, hasty=hasty)
        try:
            return await run(lambda: question(client))
        except BrokerUnauthorized:
            known.secrets.clear()
            fresh = await self._client(known, broker, write=write, hasty=hasty)
            if fresh is client:
                raise
            return await run(lambda: question(fresh))

    def _known(self, broker: PactBroker) -> "_Broker":
        meta = broker.metadata
        place = (meta.namespace, meta.name)
        identity = (meta.uid, meta.generation)
        known = self._brokers.get(place)
        if known is None or known.identity != identity:
            if known is not None:
                known.close()
            # The threads stay: those that hang still count.
            known = _Broker(
                identity,
                known.threads if known else Threads(_THREADS),
                known.haste if known else Haste(),
            )
            self._brokers[place] = known
        return known

    async def _client(self, known: "_Broker", broker: PactBroker, *, write: bool, hasty: bool) -> BrokerClient:
        auth = broker.spec.auth
        ref = auth.write_secret_ref if write else auth.read_secret_ref or auth.write_secret_ref
        credentials = None
        if ref is not None:
            credentials = _credentials(await self._secret(known, broker, ref.name), ref.name, broker)
        ca_file = await self._ca_file(known, broker)
        client = known.clients.get((credentials, ca_file, hasty))
        if client is None:
            client = BrokerClient(
                broker.spec.url,
                auth=credentials,
                ca_file=ca_file,
                # A thread of somebody who waits no longer must not hold the next one up.
                timeout=min(self._timeout, HASTY_SECONDS) if hasty else self._timeout,
                max_body_bytes=_MAX_BODY_BYTES,
            )
            known.clients[credentials, ca_file, hasty] = client
        return client

    async def _ca_file(self, known: "_Broker", broker: PactBroker) -> str | None:
        ref = broker.spec.ca_secret_ref
        if ref is None:
            return None
        authority = (await self._secret(known, broker, ref.name)).get(ref.key)
        if not authority:
            raise _no_credentials(f"Secret {ref.name!r} has no key {ref.key!r} with a certificate authority", broker)
        path = self._ca_files / f"{hashlib.sha256(authority.encode()).hexdigest()[:32]}.pem"
        if not path.exists():
            path.write_text(authority, encoding="utf-8")
        return str(path)

    async def _secret(self, known: "_Broker", broker: PactBroker, name: str) -> Mapping[str, str]:
        cached = known.secrets.get(name)
        if cached is not None and time.monotonic() - cached[0] < _SECRET_SECONDS:
            return cached[1]
        namespace = broker.metadata.namespace
        try:
            found = await self._read_secret(namespace, name)
        except ClusterError as error:
            if error.status != 403:
                raise
            raise _no_credentials(f"The operator may not read Secret {namespace}/{name}", broker) from error
        if found is None:
            raise _no_credentials(f"There is no Secret {name!r} in namespace {namespace!r}", broker)
        known.secrets[name] = (time.monotonic(), found)
        return found


class Threads:
    """Runs blocking calls in daemon threads, a bounded number at a time.

    A caller that gives up (cancellation, timeout) leaves its thread at work, and the thread keeps its place until it
    is through: what hangs cannot pile up. Threads stay for the next call, since starting one holds the event loop up
    until the machine has come round to it. Used by one event loop; only `_serve` runs elsewhere.
    """

    def __init__(self, limit: int) -> None:
        self._places = asyncio.Semaphore(limit)
        self._work: SimpleQueue[Callable[[], Callable[[], object]] | None] = SimpleQueue()
        self._threads = 0
        self._free = 0

    async def run(self, call: Callable[[], T]) -> T:
        """Runs a call and returns what it returns, or raises what it raises."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def end(answer: T | None, error: BaseException | None) -> None:
            self._free += 1
            self._places.release()
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(answer)  # type: ignore[arg-type]  # None only where T is None

        def work() -> Callable[[], object]:
            answer: T | None = None
            error: BaseException | None = None
            try:
                answer = call()
            except BaseException as caught:  # noqa: BLE001  (it is the caller's, whatever it is)
                error = caught
            return partial(loop.call_soon_threadsafe, end, answer, error)

        if self._free:
            self._free -= 1
        else:
            self._threads += 1
            threading.Thread(target=self._serve, name="broker", daemon=True).start()
        self._work.put(work)
        return await future

    def close(self) -> None:
        """Ends the threads, each once it is through with what it is at."""
        for _ in range(self._threads):
            self._work.put(None)
        self._threads = self._free = 0

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            tell = work()
            try:
                tell()
            except RuntimeError:
                logger.debug("A broker answered after the end: its event loop is closed.")
            # Nothing of the last call is kept while waiting for the next.
            del work, tell


@dataclass(slots=True)
class _Standing:
    """What is deployed and released in a broker's environments, as far as anybody has asked."""

    until: float
    """Monotonic seconds until which it is believed."""
    places: tuple[Environment, ...] | None = None
    deployments: dict[str, tuple[DeployedVersion, ...]] = field(default_factory=dict)
    """By id of the environment, as `releases`."""
    releases: dict[str, tuple[ReleasedVersion, ...]] = field(default_factory=dict)
    answers: dict[tuple[str, str], Any] = field(default_factory=dict)
    """(operation, environment) -> what was made of it for the callers."""

    def copy(self) -> "_Standing":
        return _Standing(self.until, self.places, dict(self.deployments), dict(self.releases), dict(self.answers))

    def environments(self, client: BrokerClient) -> tuple[Environment, ...]:
        if self.places is None:
            self.places = tuple(client.environments())
        return self.places

    def environment(self, client: BrokerClient, name: str) -> Environment:
        for environment in self.environments(client):
            if environment.name == name:
                return environment
        raise NotFound(f"The broker has no environment {name!r} yet")

    def deployed(self, client: BrokerClient, environment: Environment) -> tuple[DeployedVersion, ...]:
        uuid = environment.uuid
        if uuid not in self.deployments:
            self.deployments[uuid] = tuple(client.currently_deployed(uuid))
        return self.deployments[uuid]

    def released(self, client: BrokerClient, environment: Environment) -> tuple[ReleasedVersion, ...]:
        uuid = environment.uuid
        if uuid not in self.releases:
            self.releases[uuid] = tuple(client.currently_supported(uuid))
        return self.releases[uuid]

    def versions(self, client: BrokerClient, environments: Sequence[Environment]) -> dict[str, tuple[str, ...]]:
        """Pacticipant -> versions deployed, or released and supported, in any of some environments, each once."""
        found: dict[str, dict[str, None]] = {}
        for environment in environments:
            there: list[DeployedVersion | ReleasedVersion] = [*self.deployed(client, environment)]
            there += self.released(client, environment)
            for one in there:
                found.setdefault(one.pacticipant, {})[one.version] = None
        return {pacticipant: tuple(versions) for pacticipant, versions in found.items()}


class Haste:
    """The threads of those who wait for an answer: whoever could not be served in time is told so at once.

    Otherwise a thousand questions at the same moment would all wait until their time is up, and be answered together,
    too late.
    """

    def __init__(self) -> None:
        self._threads = Threads(_HASTY_THREADS)
        self._waiting = 0
        self._seconds = 0.01
        """What an answer takes on average, of late."""
        self._answered_at = 0.0
        self._slow: tuple[float, Failure] | None = None
        """Until when it is believed that the broker is too slow, and the words for it."""

    def close(self) -> None:
        """Ends the threads, as `Threads.close` does."""
        self._threads.close()

    def reject(self, broker: PactBroker) -> Failure | None:
        """Why it is of no use to wait; None if it may be."""
        if self._waiting < _HASTY_THREADS or self._waiting * self._seconds / _HASTY_THREADS < 0.7 * HASTY_SECONDS:
            return None
        if self._slow is not None and time.monotonic() < self._slow[0]:
            return self._slow[1]
        return Failure(Trouble.BUSY, _busy(broker))

    def late(self, broker: PactBroker, since: float) -> Failure:
        """Why no answer came to somebody who has waited since then."""
        if self._answered_at >= since:
            # The broker does answer, only not all of them in time.
            return Failure(Trouble.BUSY, _busy(broker))
        failure = _failure(BrokerUnavailable(_slow(broker, HASTY_SECONDS)), broker, write=False)
        self._slow = (time.monotonic() + _DOWN_SECONDS, failure)
        return failure

    async def run(self, call: Callable[[], T]) -> T:
        """Runs a call as `Threads.run` does."""

        def timed() -> T:
            started = time.monotonic()
            try:
                return call()
            finally:
                self._seconds += (time.monotonic() - started - self._seconds) / 8

        self._waiting += 1
        try:
            answer = await self._threads.run(timed)
        finally:
            self._waiting -= 1
        self._answered_at, self._slow = time.monotonic(), None
        return answer


@dataclass(slots=True)
class _Broker:
    """What is remembered of one generation of one PactBroker."""

    identity: tuple[str, int]
    threads: Threads
    haste: "Haste"
    clients: dict[tuple[BasicAuth | BearerAuth | None, str | None, bool], BrokerClient] = field(default_factory=dict)
    secrets: dict[str, tuple[float, Mapping[str, str]]] = field(default_factory=dict)
    down: tuple[float, Failure] | None = None
    fingerprint: str | None = None
    standing: "_Standing | None" = None
    standing_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    written: int = 0
    """How often what is deployed has changed, as far as we know: an answer of before must not be kept."""
    versions: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict)
    """(pacticipant, version) that the broker knows."""

    there: "dict[str, _There]" = field(default_factory=dict)
    """What is in an environment, for the gate."""

    def forget_standing(self) -> None:
        self.standing = None
        self.there.clear()
        self.written += 1

    def went_down(self, failure: Failure) -> None:
        self.down = (time.monotonic() + _DOWN_SECONDS, failure)

    def answered(self) -> None:
        self.down = None

    def failure_while_down(self) -> Failure | None:
        if self.down is None or time.monotonic() >= self.down[0]:
            return None
        return self.down[1]

    def close(self) -> None:
        for client in self.clients.values():
            client.close()
        self.clients.clear()


async def _within(seconds: float, coroutine: Coroutine[Any, Any, T]) -> T:
    """Waits for a coroutine so long; unlike `asyncio.timeout` it takes an answer that is at hand although it is late.

    An event loop that has been busy for as long finds the answer and the end of the time at the same moment.

    Raises:
        TimeoutError: there is no answer; the coroutine is cancelled.
    """
    task = asyncio.ensure_future(coroutine)
    try:
        await asyncio.wait({task}, timeout=seconds)
        for _ in range(_TURNS):
            if task.done():
                return task.result()
            await asyncio.sleep(0)
    finally:
        task.cancel()
    raise TimeoutError


@dataclass(slots=True)
class _There:
    """What is in one environment, and until when that is believed."""

    until: float = 0.0
    versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


def _can_i_deploy(client: BrokerClient, question: Question, ignore: Sequence[str]) -> Matrix | Failure:
    # To ignore the pacticipant itself would let a version pass that does not exist.
    others = [name for name in ignore if name != question.pacticipant]
    found: CanIDeploy | None = None
    for limit in _GATE_ROWS:
        try:
            found = client.can_i_deploy(
                question.pacticipant, question.version, environment=question.environment, ignore=others, limit=limit
            )
        except InvalidRequest as error:
            if all(environment.name != question.environment for environment in client.environments()):
                return Failure(
                    Trouble.NO_ENVIRONMENT,
                    f"The broker at {client.base_url} has no environment {question.environment!r}.",
                )
            if client.pacticipant(question.pacticipant) is None:
                return Matrix(False, f"No pacticipant {question.pacticipant!r} is known to it.")
            return Failure(Trouble.REFUSED, str(error))
        if len(found.rows) < limit:
            break
    else:
        return Failure(
            Trouble.REFUSED, f"More than {_GATE_ROWS[-1]} contracts concern the version: the broker cannot show all."
        )
    return Matrix(
        found.deployable,
        found.reason,
        tuple(
            GateRow(
                row.consumer,
                row.consumer_version,
                row.provider,
                row.provider_version,
                row.success,
                row.content_sha or "",
                row.result_url or "",
            )
            for row in found.rows
        ),
    )


def first_mismatch(test_results: Sequence[Mapping[str, Any]]) -> str:
    """Words for the first thing that went wrong: which interaction, which part, what.

    Args:
        test_results: `testResults` of a verification result, as the verifier published them; any form is borne.

    Returns:
        One line, or nothing if the verifier published no detail.
    """
    for test in test_results:
        if test.get("success") is not False:
            continue
        name = test.get("interactionDescription") or test.get("interactionId") or "an interaction"
        for mismatch in _mappings(test.get("mismatches")):
            where = " at ".join(str(mismatch[part]) for part in ("attribute", "identifier") if mismatch.get(part))
            what = str(mismatch.get("description") or "differs")
            return _line(f"{name}: {where}: {what}" if where else f"{name}: {what}")
        for exception in _mappings(test.get("exceptions")):
            return _line(f"{name}: {exception.get('message') or 'the request failed'}")
        return _line(f"{name} failed")
    return ""


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, (list, tuple)) else []


def _line(text: str) -> str:
    return " ".join(text.split())[:_MISMATCH]


def _credentials(secret: Mapping[str, str], name: str, broker: PactBroker) -> BasicAuth | BearerAuth:
    if token := secret.get("token", "").strip():
        return BearerAuth(token)
    if (username := secret.get("username", "")) and "password" in secret:
        # A trailing newline is what `kubectl create secret --from-file` leaves of an editor's file.
        return BasicAuth(username.strip("\r\n"), secret["password"].strip("\r\n"))
    raise _no_credentials(f"Secret {name!r} has neither a token nor username and password", broker)


def _no_credentials(what: str, broker: PactBroker) -> BrokerFailureError:
    return BrokerFailureError(
        Failure(
            Trouble.NO_CREDENTIALS,
            f"{what}: mend it, or the reference to it in PactBroker {broker.metadata.name!r} ({broker.spec.url}).",
        )
    )


def _busy(broker: PactBroker) -> str:
    return f"More is asked of the broker at {broker.spec.url} at once than it answers in time."


def _slow(broker: PactBroker, seconds: float) -> str:
    return f"The broker at {broker.spec.url} did not answer within {seconds:g} seconds."


def _failure(error: BrokerError, broker: PactBroker, *, write: bool) -> Failure:
    said = str(error).strip().rstrip(".")
    if broker.spec.url.rstrip("/") not in said:
        said = f"{broker.spec.url}: {said}"
    name = broker.metadata.name
    if isinstance(error, BrokerUnauthorized):
        auth = broker.spec.auth
        ref = auth.write_secret_ref if write else auth.read_secret_ref or auth.write_secret_ref
        wanted = "writeSecretRef" if write else "readSecretRef"
        todo = (
            f"put working credentials into Secret {ref.name!r}"
            if ref is not None
            else f"name a Secret in spec.auth.{wanted} of PactBroker {name!r}"
        )
        return Failure(Trouble.UNAUTHORIZED, f"{said}; {todo}.")
    if isinstance(error, BrokerUnavailable):
        return Failure(Trouble.UNAVAILABLE, f"{said}; bring the broker back, or mend spec.url of PactBroker {name!r}.")
    if isinstance(error, ProtocolError):
        return Failure(Trouble.NOT_A_BROKER, f"{said}; mend spec.url of PactBroker {name!r}.")
    return Failure(Trouble.REFUSED, f"{said}.")
