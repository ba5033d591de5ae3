"""How a run ended, and how that is said: termination message and log. Pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from brokerclient.text import clean, clean_block

SCHEMA = "pact-operator.dev/publisher/v1"
MAX_BYTES = 4095  # the kubelet keeps 4096 and cuts without asking
_NAME = 255
_URL = 1000
_DETAILS = 20_000
_DIFF = 200


class Outcome(StrEnum):
    """How a run ended; each has its exit code."""

    PUBLISHED = "Published"
    REJECTED = "Rejected"
    NOTHING_WRITTEN = "NothingWritten"
    INFRASTRUCTURE_ERROR = "InfrastructureError"


class Reason(StrEnum):
    """Why, in one CamelCase word: a condition's reason."""

    PUBLISHED = "Published"
    PACT_INVALID = "PactInvalid"
    PACT_NAMES_ANOTHER_CONSUMER = "PactNamesAnotherConsumer"
    PUBLISH_REJECTED = "PublishRejected"
    NOTHING_WRITTEN = "NothingWritten"
    BROKER_UNAVAILABLE = "BrokerUnavailable"
    BROKER_UNAUTHORIZED = "BrokerUnauthorized"
    INVALID_CONFIGURATION = "InvalidConfiguration"


EXIT_CODES = {
    Outcome.PUBLISHED: 0,
    Outcome.REJECTED: 1,
    Outcome.NOTHING_WRITTEN: 2,
    Outcome.INFRASTRUCTURE_ERROR: 75,  # EX_TEMPFAIL of sysexits.h: worth another try
}
_OUTCOMES = {
    Reason.PUBLISHED: Outcome.PUBLISHED,
    Reason.PACT_INVALID: Outcome.REJECTED,
    Reason.PACT_NAMES_ANOTHER_CONSUMER: Outcome.REJECTED,
    Reason.PUBLISH_REJECTED: Outcome.REJECTED,
    Reason.NOTHING_WRITTEN: Outcome.NOTHING_WRITTEN,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One pact; `url` is where the broker holds it, None while it does not."""

    provider: str
    interactions: int
    url: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a run; `details` are further lines for the log, such as the broker's diff."""

    reason: Reason
    message: str
    consumer: str
    consumer_version: str
    pacts: tuple[Entry, ...] = ()
    details: str = ""

    @property
    def outcome(self) -> Outcome:
        """How the run ended: every reason belongs to one outcome."""
        return _OUTCOMES.get(self.reason, Outcome.INFRASTRUCTURE_ERROR)

    @property
    def exit_code(self) -> int:
        """Exit code of the process."""
        return EXIT_CODES[self.outcome]


def render(verdict: Verdict) -> bytes:
    """Write a verdict as JSON of at most 4095 bytes of UTF-8.

    What does not fit is left out: pacts from the end, then the end of the message; `truncated` says so.
    """
    message: dict[str, Any] = {
        "schema": SCHEMA,
        "outcome": verdict.outcome.value,
        "reason": verdict.reason.value,
        "message": clean(verdict.message, 900) or verdict.reason.value,
        "consumer": clean(verdict.consumer, _NAME),
        "consumerVersion": clean(verdict.consumer_version, _NAME),
        "pacts": [],
        "truncated": False,
    }
    room = MAX_BYTES - len(_encode(message))
    for pact in verdict.pacts:
        url = None if pact.url is None else clean(pact.url, _URL)
        entry = {"provider": clean(pact.provider, _NAME), "interactions": pact.interactions, "url": url}
        room -= len(_encode(entry)) + 1  # and a comma
        if room < 0:
            message["truncated"] = True
            break
        message["pacts"].append(entry)
    content = _encode(message)
    while len(content) > MAX_BYTES:  # only names and a message of many-byte characters get here
        message["truncated"] = True
        for key in ("message", "consumer", "consumerVersion"):
            message[key] = clean(message[key], max(20, len(message[key]) // 2))
        content = _encode(message)
    return content


def log_text(verdict: Verdict) -> str:
    """Write what a person wants to know: the pacts with their URLs first, then how it ended, then details."""
    lines: list[str] = []
    if verdict.pacts:
        rows = [("PROVIDER", "INTERACTIONS", "URL")]
        rows += [
            (clean(p.provider, 60), str(p.interactions), clean(p.url or "not published", _URL)) for p in verdict.pacts
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines += ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.append("")
    reason = "" if verdict.reason.value == verdict.outcome.value else f" ({verdict.reason.value})"
    lines.append(f"{verdict.outcome.value}{reason}: {clean(verdict.message, 900)}")
    if verdict.details:
        lines += ["", clean_block(verdict.details, _DETAILS)]
    return "\n".join(lines) + "\n"


def changes(diff: str) -> str:
    """The changed lines of the broker's diff in one short line, empty if there are none."""
    changed = [line.strip() for line in diff.splitlines() if line[:1] in {"+", "-"} and line[1:].strip(' {}[],"')]
    return clean(" ".join(changed), _DIFF)


def plural(count: int, noun: str) -> str:
    """`1 pact`, `2 pacts`."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def names(entries: Sequence[Entry]) -> str:
    """The providers in words, at most three by name."""
    providers = [entry.provider for entry in entries]
    if len(providers) <= 3:
        return " and ".join([", ".join(providers[:-1]), providers[-1]] if len(providers) > 1 else providers)
    return f"{', '.join(providers[:2])} and {len(providers) - 2} more"


def _encode(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
