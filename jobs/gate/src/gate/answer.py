"""What the gate answers, read with distrust, and what becomes of the Job by it. Pure."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_CONTRACTS = 500
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


class Outcome(StrEnum):
    """How the Job ends."""

    ALLOWED = "Allowed"
    REFUSED = "Refused"
    NOTHING_TO_CHECK = "NothingToCheck"
    CANNOT_TELL = "CannotTell"


EXIT_CODES: Mapping[Outcome, int] = {
    Outcome.ALLOWED: 0,
    Outcome.REFUSED: 1,
    Outcome.NOTHING_TO_CHECK: 2,
    Outcome.CANNOT_TELL: 75,
}
"""75 is `EX_TEMPFAIL` of sysexits.h: the same question may have an answer later."""


@dataclass(frozen=True, slots=True)
class Contract:
    """One contract that the gate looked at."""

    consumer: str
    provider: str
    state: str
    message: str
    ignored: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The gate's answer, or why there is none.

    Attributes:
        allowed: Whether the version may go.
        verdict: `Allowed`, `Broken`, `Pending`, `NothingToCheck` or `CannotTell`.
        message: One sentence for a person.
        next_step: What to do; may be empty.
        retry: Whether waiting can help.
        shadow: Whether the gate lets pass what it would have refused.
        environment: The one that the answer is about; empty if the gate did not say.
        contracts: What it looked at.
    """

    allowed: bool
    verdict: str
    message: str
    next_step: str = ""
    retry: bool = False
    shadow: bool = False
    environment: str = ""
    contracts: tuple[Contract, ...] = ()

    @property
    def final(self) -> bool:
        """Whether asking again is of no use: nothing to check needs somebody who publishes a pact, not patience."""
        return self.allowed or not self.retry or self.verdict == "NothingToCheck"

    @property
    def outcome(self) -> Outcome:
        """How the Job ends with this answer."""
        if self.allowed:
            return Outcome.ALLOWED
        return {
            "NothingToCheck": Outcome.NOTHING_TO_CHECK,
            "CannotTell": Outcome.CANNOT_TELL,
            "Pending": Outcome.CANNOT_TELL,
        }.get(self.verdict, Outcome.REFUSED)


def no_answer(message: str, next_step: str, *, retry: bool) -> Answer:
    """The answer of a gate that gave none."""
    return Answer(allowed=False, verdict="CannotTell", message=message, next_step=next_step, retry=retry)


def read(body: object) -> Answer | None:
    """Read what the gate sent.

    Args:
        body: Parsed JSON.

    Returns:
        The answer, or None if that is not what a gate says: only a literal `true` allows.
    """
    if not isinstance(body, dict) or not isinstance(body.get("allowed"), bool):
        return None
    verdict = _text(body, "verdict", 60)
    if not verdict:
        return None
    entries = body.get("contracts")
    contracts = [_contract(entry) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return Answer(
        allowed=body["allowed"],
        verdict=verdict,
        message=_text(body, "message", 1000) or verdict,
        next_step=_text(body, "nextStep", 600),
        retry=body.get("retry") is True,
        shadow=body.get("shadow") is True,
        environment=_text(body, "environment", 255),
        contracts=tuple(contracts[:MAX_CONTRACTS]),
    )


def _contract(entry: Mapping[str, Any]) -> Contract:
    return Contract(
        consumer=_side(entry, "consumer"),
        provider=_side(entry, "provider"),
        state=_text(entry, "state", 40) or "?",
        message=_text(entry, "message", 600),
        ignored=entry.get("ignored") is True,
    )


def _side(entry: Mapping[str, Any], side: str) -> str:
    return f"{_text(entry, side, 255)} {_text(entry, f'{side}Version', 255)}".strip()


def _text(entry: Mapping[str, Any], key: str, limit: int) -> str:
    value = entry.get(key)
    return clean(value, limit) if isinstance(value, str) else ""


def clean(text: str, limit: int) -> str:
    """Make one line that cannot repaint a terminal; what is longer than `limit` characters ends in `...`."""
    text = _ANSI.sub("", text[: 8 * limit + 64])
    kept = "".join(
        " " if c.isspace() else c for c in text if c.isspace() or not unicodedata.category(c).startswith("C")
    )
    line = " ".join(kept.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."
