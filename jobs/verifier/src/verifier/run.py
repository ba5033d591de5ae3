"""One run: which pacts, is the provider ready, verify each, publish each, look whether the broker holds it."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from brokerclient import BrokerClient, BrokerError, BrokerUnauthorized, BrokerUnavailable
from brokerclient.text import clean
from verifier import __version__
from verifier.outcome import PactFacts, PactOutcome, Problem, Reason, Verdict, decide, mark_not_verified
from verifier.pact import NotAPactError, Pact, parse_pact
from verifier.provider import check_message_endpoint, check_states_endpoint, not_ready, wait_until_ready
from verifier.relay import Relay
from verifier.settings import OwedPact, Settings
from verifier.wording import CoreResult, read_results

_PUBLISH_WAITS = (0.25, 1.0)  # seconds before the second and third try: a whole verification is at stake
_ALIVE_SECONDS = 2.0
Say = Callable[[str], None]


class Stopped(Exception):  # noqa: N818
    """The run cannot go on; what is already known stands."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass
class Progress:
    """What is known so far; read by whoever has to end the run early."""

    started: float = field(default_factory=time.monotonic)
    stage: str = "waiting for the provider"
    facts: list[PactFacts] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Prepared:
    client: BrokerClient
    owed: tuple[OwedPact, ...]
    first: Mapping[str, Any] | Problem | None


def run(settings: Settings, progress: Progress, say: Say) -> Verdict:
    """Verify and publish.

    Args:
        settings: What to do.
        progress: Kept up to date meanwhile.
        say: Takes lines for the log.

    Returns:
        The verdict; nothing that a broker or provider does raises.
    """
    problem: Problem | None = None
    progress.facts = _facts(settings.pacts or ())
    try:
        prepared = _prepare_while_waiting(settings, progress)
        if prepared.owed:
            _Run(settings, prepared, progress, say).verify_all()
    except Stopped as stop:
        problem = stop.problem
    return decide(
        settings.provider,
        settings.provider_version,
        progress.facts,
        problem=problem,
        duration=time.monotonic() - progress.started,
    )


# -- before the first interaction


def _prepare_while_waiting(settings: Settings, progress: Progress) -> _Prepared:
    """Load libraries and pacts while the provider starts; stop waiting for it if there is nothing to verify."""
    result: list[_Prepared] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            result.append(_prepare(settings))
        except BaseException as error:  # noqa: BLE001  (raised again below, in the thread that waits)
            failure.append(error)

    thread = threading.Thread(target=work, daemon=True, name="prepare")
    thread.start()
    problem = wait_until_ready(
        settings.provider_url,
        settings.readiness_path,
        settings.ready_timeout,
        give_up=lambda: bool(failure) or bool(result and not result[0].owed),
    )
    thread.join()
    if failure:
        if isinstance(failure[0], Stopped):
            progress.facts = mark_not_verified(progress.facts, failure[0].problem)
        raise failure[0]
    progress.facts = _facts(result[0].owed)
    if problem is not None and result[0].owed:
        progress.facts = mark_not_verified(progress.facts, problem)
        raise Stopped(problem)
    return result[0]


def _facts(owed: Iterable[OwedPact]) -> list[PactFacts]:
    return [PactFacts(one.consumer, one.content_sha, one.pending) for one in owed]


def _prepare(settings: Settings) -> _Prepared:
    try:
        client = settings.broker.client(user_agent=f"pact-operator-verifier/{__version__}")
        owed = settings.pacts if settings.pacts is not None else _ask_what_to_verify(client, settings)
    except BrokerError as error:
        raise Stopped(_problem(error, otherwise=Reason.INVALID_CONFIGURATION)) from None
    first = _fetch(client, owed[0]) if owed else None
    if isinstance(first, Problem) and first.reason is not Reason.PACT_NOT_FOUND:
        raise Stopped(first)
    if owed:
        import verifier.core  # noqa: F401  (loaded here, while the provider starts)
    return _Prepared(client, owed, first)


def _ask_what_to_verify(client: BrokerClient, settings: Settings) -> tuple[OwedPact, ...]:
    found = client.pacts_for_verification(
        settings.provider,
        selectors=settings.selectors,
        provider_branch=settings.provider_branch,
        include_pending=settings.include_pending,
        include_wip_since=settings.include_wip_since,
    )
    return tuple(OwedPact(one.consumer, one.content_sha, one.url, one.pending or one.wip) for one in found)


def _fetch(client: BrokerClient, owed: OwedPact) -> Mapping[str, Any] | Problem:
    try:
        return client.get_pact(owed.url)
    except BrokerError as error:
        return _problem(error, otherwise=Reason.PACT_NOT_FOUND, about=f"The pact of {owed.consumer} is not to be had: ")


def _problem(error: BrokerError, *, otherwise: Reason, about: str = "") -> Problem:
    if isinstance(error, BrokerUnavailable):
        return Problem(Reason.BROKER_UNAVAILABLE, clean(str(error), 600))
    if isinstance(error, BrokerUnauthorized):
        return Problem(Reason.BROKER_UNAUTHORIZED, clean(str(error), 600))
    text = str(error)
    return Problem(otherwise, clean(f"{about}{text[:1].lower() + text[1:] if about else text}", 600))


# -- the pacts, one after the other


class _Run:
    def __init__(self, settings: Settings, prepared: _Prepared, progress: Progress, say: Say) -> None:
        self._settings = settings
        self._prepared = prepared
        self._progress = progress
        self._say = say
        self._states_checked = False
        self._messages_checked = False
        self._on_branch = False
        self._posted: dict[int, tuple[Pact, CoreResult, str | None]] = {}

    def verify_all(self) -> None:
        """Verify each pact, publish each result at once, then ask the broker for all of them.

        Raises:
            Stopped: The provider or the broker is gone; the facts say what was not verified.
        """
        settings = self._settings
        facts = self._progress.facts
        with Relay(
            settings.provider_url, settings.states_path, settings.message_path, settings.request_timeout
        ) as relay:
            try:
                for index, owed in enumerate(self._prepared.owed):
                    self._progress.stage = f"verifying the pact of {owed.consumer}"
                    self._one(index, owed, relay)
            except Stopped as stop:
                facts[index:] = mark_not_verified(facts[index:], stop.problem)
                raise
            finally:
                for warning in relay.warnings[:20]:
                    self._say(f"warning: {warning}")
                if self._posted:
                    self._progress.stage = "publishing results"
                    self._confirm()

    def _one(self, index: int, owed: OwedPact, relay: Relay) -> None:
        first = self._prepared.first if index == 0 else None
        document = first if first is not None else _fetch(self._prepared.client, owed)
        if isinstance(document, Problem) and document.reason is not Reason.PACT_NOT_FOUND:
            raise Stopped(document)
        facts = self._progress.facts
        checked = document if isinstance(document, Problem) else self._check(owed, document)
        if isinstance(checked, Problem):
            facts[index] = replace(facts[index], problem=checked)
            return
        assert not isinstance(document, Problem)  # noqa: S101  (for the type checker: `checked` says so)
        descriptions = tuple(interaction.description for interaction in checked.interactions)
        facts[index] = replace(facts[index], interactions=len(descriptions), descriptions=descriptions)
        count = len(checked.interactions)
        self._say(f"verifying the pact of {clean(owed.consumer)}: {count} interaction{'' if count == 1 else 's'}")
        result = self._verify(document, checked, relay)
        if result.load_error is not None:
            text = f"The pact of {owed.consumer} cannot be read: {result.load_error}"
            facts[index] = replace(facts[index], problem=Problem(Reason.PACT_INVALID, clean(text, 600)))
            return
        facts[index] = replace(facts[index], failures=result.failures)
        if self._settings.publish:
            self._posted[index] = (checked, result, self._publish(checked, result, facts[index]))

    def _check(self, owed: OwedPact, document: Mapping[str, Any]) -> Pact | Problem:
        settings = self._settings
        try:
            pact = parse_pact(document)
        except NotAPactError as error:
            text = f"What the broker holds as the pact of {owed.consumer} with {settings.provider} is no pact: {error}."
            return Problem(Reason.PACT_INVALID, clean(text, 600))
        if (pact.provider, pact.consumer) != (settings.provider, owed.consumer):
            text = (
                f"The pact to verify is one of {pact.consumer} with {pact.provider},"
                f" not of {owed.consumer} with {settings.provider}: give the URL of the right one."
            )
            return Problem(Reason.INVALID_CONFIGURATION, clean(text, 600))
        if pact.plugins:
            text = (
                f"The pact of {owed.consumer} needs the Pact plugin {', '.join(pact.plugins)}: this verifier has none."
            )
            return Problem(Reason.INVALID_CONFIGURATION, clean(text, 600))
        if pact.has_messages and settings.message_path is None:
            text = f"The pact of {owed.consumer} has messages: set PV_MESSAGE_PATH to the provider's message endpoint."
            return Problem(Reason.INVALID_CONFIGURATION, clean(text, 600))
        return pact

    def _verify(self, document: Mapping[str, Any], pact: Pact, relay: Relay) -> CoreResult:
        if not pact.interactions:
            return CoreResult((), broken_off=False, load_error=None, test_results=())
        self._check_endpoints(pact)
        result = self._ask_core(document, pact, relay)
        if not result.broken_off:
            return result
        self._still_alive(result)
        # The provider is there, and yet did not answer: once may be chance, twice is how it behaves.
        self._say("the provider did not answer every request and is ready now: verifying this pact once more")
        result = self._ask_core(document, pact, relay)
        if result.broken_off:
            self._still_alive(result)
        return result

    def _check_endpoints(self, pact: Pact) -> None:
        settings = self._settings
        address, timeout = settings.provider_url, settings.request_timeout
        problem = None
        state = next(pact.states(), None)
        if state is not None and settings.states_path and not self._states_checked:
            self._states_checked = True
            problem = check_states_endpoint(address, settings.states_path, state, timeout)
        message = next((one for one in pact.interactions if one.is_message), None)
        if problem is None and message is not None and settings.message_path and not self._messages_checked:
            self._messages_checked = True
            problem = check_message_endpoint(address, settings.message_path, message, timeout)
        if problem is not None:
            raise Stopped(problem)

    def _ask_core(self, document: Mapping[str, Any], pact: Pact, relay: Relay) -> CoreResult:
        from verifier import core

        settings = self._settings
        address = settings.provider_url
        relay.forget()
        # The core looks for messages on the provider's host: the relay can stand in only where that is loopback.
        relayed = address.host in core.LOOPBACK and address.scheme == "http"
        path = (relay.messages_path if relayed else settings.message_path) if pact.has_messages else None
        uses_states = settings.states_path is not None and next(pact.states(), None) is not None
        results = core.verify(
            document,
            provider=settings.provider,
            address=address,
            states_url=relay.states_url if uses_states else None,
            message_port=relay.port if relayed else address.port,
            message_path=path,
            request_timeout=settings.request_timeout,
        )
        result = read_results(results, pact, relay.heard())
        return replace(result, broken_off=True) if relay.lost else result

    def _still_alive(self, result: CoreResult) -> None:
        settings = self._settings
        error = not_ready(settings.provider_url, settings.readiness_path, _ALIVE_SECONDS)
        if error is None:
            return
        at = result.failures[0].description if result.failures else "an interaction"
        text = f"The provider at {settings.provider_url.origin} stopped answering at '{at}': {error}."
        raise Stopped(Problem(Reason.PROVIDER_NOT_READY, clean(text, 600)))

    # -- results

    def _publish(self, pact: Pact, result: CoreResult, facts: PactFacts) -> str | None:
        """Publish one result; None, or why it was not taken."""
        if pact.publish_url is None:
            return "the broker gave no link to publish results to."
        settings, client = self._settings, self._prepared.client
        error: BrokerError | None = None
        for wait in (0.0, *_PUBLISH_WAITS):
            threading.Event().wait(wait)
            try:
                if settings.provider_branch and not self._on_branch:
                    client.ensure_branch_version(settings.provider, settings.provider_branch, settings.provider_version)
                    self._on_branch = True
                client.publish_verification_result(
                    pact.publish_url,
                    provider_version=settings.provider_version,
                    success=facts.outcome is PactOutcome.PASSED,
                    test_results=result.test_results,
                    verified_by={
                        "implementation": "pact-operator-verifier",
                        "version": __version__,
                        "clientLanguage": {"name": "pact-python", "testFramework": "pact_ffi"},
                    },
                )
            except BrokerUnavailable as unavailable:
                error = unavailable
            except BrokerError as refused:
                return clean(str(refused))
            else:
                return None
        return clean(str(error))

    def _confirm(self) -> None:
        """Read every result back, publishing once more what the broker does not hold."""
        facts = self._progress.facts
        missing, error = self._missing(self._posted)
        if missing and error is None:
            for index in missing:
                pact, result, _ = self._posted[index]
                self._posted[index] = (pact, result, self._publish(pact, result, facts[index]))
            missing, error = self._missing(missing)
        for index, (_, _, refused) in self._posted.items():
            if index not in missing:
                facts[index] = replace(facts[index], recorded=True)
            else:
                why = refused or error or "it took the result and does not list it."
                facts[index] = replace(facts[index], recorded=False, record_problem=why)

    def _missing(self, wanted: Iterable[int]) -> tuple[list[int], str | None]:
        settings = self._settings
        try:
            held = {
                (one.consumer, one.content_sha): one.success
                for one in self._prepared.client.verification_results(settings.provider, settings.provider_version)
            }
        except BrokerError as error:
            return list(wanted), clean(str(error))
        facts = self._progress.facts
        return [
            index
            for index in wanted
            if held.get((facts[index].consumer, facts[index].content_sha))
            is not (facts[index].outcome is PactOutcome.PASSED)
        ], None
