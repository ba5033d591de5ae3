"""`python -m publisher`: settings from the environment, verdict as exit code, termination message and log."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from brokerclient import (
    BrokerAccess,
    BrokerError,
    BrokerUnauthorized,
    BrokerUnavailable,
    Conflict,
    InvalidRequest,
    Published,
    broker_access,
)
from publisher import __version__
from publisher.outcome import Entry, Reason, Verdict, changes, log_text, names, plural, render
from publisher.pacts import Contract, PactError, contracts, read


@dataclass(frozen=True, slots=True)
class _Settings:
    broker: BrokerAccess
    consumer: str
    version: str
    branch: str | None
    build_url: str | None
    folder: Path


def main(env: Mapping[str, str]) -> int:
    """Run once.

    Returns:
        0 published, 1 rejected, 2 nothing written, 75 infrastructure.
    """
    consumer, version = env.get("PP_CONSUMER", "").strip(), env.get("PP_CONSUMER_VERSION", "").strip()

    def stop(_signum: int, _frame: FrameType | None) -> NoReturn:
        # Process 1 of a container has to say for itself how it ends.
        text = "The publisher was stopped from outside before the broker had answered."
        os._exit(_finish(Verdict(Reason.BROKER_UNAVAILABLE, text, consumer, version), env))

    signal.signal(signal.SIGTERM, stop)
    try:
        settings = _settings(env, consumer, version)
    except InvalidRequest as error:
        return _finish(Verdict(Reason.INVALID_CONFIGURATION, str(error), consumer, version), env)
    return _finish(run(settings), env)


def _settings(env: Mapping[str, str], consumer: str, version: str) -> _Settings:
    for name, value in (("PP_CONSUMER", consumer), ("PP_CONSUMER_VERSION", version)):
        if not value:
            raise InvalidRequest(f"{name} is not set.")
    return _Settings(
        broker=broker_access(env, ca_file=env.get("PP_CA_FILE")),
        consumer=consumer,
        version=version,
        branch=env.get("PP_BRANCH", "").strip() or None,
        build_url=env.get("PP_BUILD_URL", "").strip() or None,
        folder=Path(env.get("PP_PACT_DIR") or "/pacts"),
    )


def run(settings: _Settings) -> Verdict:
    """Check everything, then publish everything in one request."""
    consumer, version = settings.consumer, settings.version
    try:
        found = contracts(read(settings.folder), consumer)
    except PactError as error:
        reason = Reason.PACT_NAMES_ANOTHER_CONSUMER if error.another_consumer else Reason.PACT_INVALID
        return Verdict(reason, f"Nothing was published: {error}", consumer, version)
    except OSError as error:
        text = f"The pacts cannot be read: {error}; set PP_PACT_DIR to where the tests write them."
        return Verdict(Reason.INVALID_CONFIGURATION, text, consumer, version)
    if not found:
        text = f"The tests of {consumer} {version} wrote no pact (*.json) into {settings.folder}."
        return Verdict(Reason.NOTHING_WRITTEN, text, consumer, version)
    for contract in found:
        if len(contract.files) > 1:
            _say(f"{', '.join(contract.files)} are merged into one pact with {contract.provider}")
    unpublished = tuple(Entry(contract.provider, contract.interactions, None) for contract in found)
    try:
        with settings.broker.client(user_agent=f"pact-operator-publisher/{__version__}") as client:
            published = client.publish_contracts(
                consumer,
                version,
                [contract.document for contract in found],
                branch=settings.branch,
                build_url=settings.build_url,
            )
    except BrokerError as error:
        return _refused(error, consumer, version, unpublished)
    return _published(published, found, settings)


def _published(published: Published, found: Sequence[Contract], settings: _Settings) -> Verdict:
    urls = {pact.provider: pact.url for pact in published.pacts}
    entries = tuple(Entry(c.provider, c.interactions, urls.get(c.provider)) for c in found)
    branch = f" on branch {settings.branch}" if settings.branch else ""
    pacts = f"{plural(len(entries), 'pact')} with {names(entries)}"
    text = f"{settings.consumer} {settings.version}{branch}: {pacts} published."
    # The prompts advertise next steps that are the operator's business here.
    notices = [n.text for n in published.notices if n.type in {"success", "warning", "error", "info", "debug"}]
    details = "\n".join(notices)
    return Verdict(Reason.PUBLISHED, text, settings.consumer, settings.version, entries, details)


def _refused(error: BrokerError, consumer: str, version: str, entries: tuple[Entry, ...]) -> Verdict:
    details = ""
    text = str(error)
    if isinstance(error, Conflict):
        reason = Reason.PUBLISH_REJECTED
        details = error.text
        changed = changes(error.text)
        # The broker's own sentence goes on for half a page of advice; the change is what the reader needs.
        text = text.split(". ", 1)[0].rstrip(".") + (f"; changed: {changed}" if changed else ".")
    elif isinstance(error, InvalidRequest):
        reason = Reason.PUBLISH_REJECTED
        details = "\n".join(error.errors)
    elif isinstance(error, BrokerUnauthorized):
        reason = Reason.BROKER_UNAUTHORIZED
    elif isinstance(error, BrokerUnavailable):
        reason = Reason.BROKER_UNAVAILABLE
    else:
        reason = Reason.INVALID_CONFIGURATION  # something that is no Pact Broker, or one without this route
    return Verdict(reason, text, consumer, version, entries, details)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _finish(verdict: Verdict, env: Mapping[str, str]) -> int:
    try:
        Path(env.get("PP_TERMINATION_PATH") or "/dev/termination-log").write_bytes(render(verdict))
    except OSError as error:
        _say(f"warning: the termination message cannot be written: {error}")
    sys.stdout.write(log_text(verdict))
    sys.stdout.flush()
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main(os.environ))
