"""What the Job says: progress on the way, the contracts and the verdict at the end, the termination message. Pure."""

import json
from collections.abc import Sequence
from typing import Any, Final

from gate.answer import EXIT_CODES, Answer, Contract, Outcome, clean
from gate.settings import Question

SCHEMA: Final = "pact-operator.dev/gate/v1"
MAX_BYTES: Final = 4095  # the kubelet keeps 4096 and cuts without asking
SHOWN: Final = 50
_HEAD: Final = ("consumer", "provider", "state", "")
_WORDS: Final = {
    Outcome.ALLOWED: "ALLOWED",
    Outcome.REFUSED: "REFUSED",
    Outcome.NOTHING_TO_CHECK: "NOTHING TO CHECK",
    Outcome.CANNOT_TELL: "CANNOT TELL",
}


def progress(seconds: float, answer: Answer) -> str:
    """One line of progress."""
    return f"{seconds:5.0f} s  {answer.verdict}: {answer.message}"


def verdict(question: Question, answer: Answer) -> str:
    """The end of the log: a table of the contracts, then the verdict, then what to do."""
    lines = _table(answer.contracts)
    word = _WORDS[answer.outcome]
    where = answer.environment or question.environment or "its environment"
    lines.append(f"{word}: {question.pacticipant} {question.version} to {where}: {answer.message}")
    if answer.outcome is Outcome.ALLOWED and answer.verdict != "Allowed":
        how = "the gate is in shadow mode" if answer.shadow else "the PactBroker's spec.gate lets it pass"
        lines.append(f"It passes because {how}; the verdict was {answer.verdict}.")
    if answer.next_step and answer.verdict != "Allowed":
        lines.append(f"What to do: {answer.next_step}")
    return "\n".join(lines) + "\n"


def _table(contracts: Sequence[Contract]) -> list[str]:
    if not contracts:
        return []
    # What is wrong stands first: a long table is cut at its end.
    order = sorted(contracts, key=lambda c: (c.state == "Verified", c.ignored))
    rows = [(c.consumer, c.provider, f"{c.state}{' (ignored)' if c.ignored else ''}", c.message) for c in order[:SHOWN]]
    widths = [max(len(row[i]) for row in (_HEAD, *rows)) for i in range(3)]
    shown = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
        for row in (_HEAD, *rows)
    ]
    if len(contracts) > SHOWN:
        shown.append(f"... and {len(contracts) - SHOWN} more")
    return ["", *shown, ""]


def termination(question: Question | None, answer: Answer) -> bytes:
    """The termination message: JSON of at most 4095 bytes of UTF-8, contracts left out from the end."""
    message: dict[str, Any] = {
        "schema": SCHEMA,
        "outcome": answer.outcome.value,
        "exitCode": EXIT_CODES[answer.outcome],
        "verdict": answer.verdict,
        "message": clean(answer.message, 600) or answer.verdict,
        "nextStep": clean(answer.next_step, 300),
        "pacticipant": clean(question.pacticipant, 200) if question else "",
        "version": clean(question.version, 200) if question else "",
        "environment": clean(answer.environment or (question.environment if question else ""), 200),
        "shadow": answer.shadow,
        "contracts": [],
        "truncated": False,
    }
    entries = [
        {
            "consumer": clean(c.consumer, 200),
            "provider": clean(c.provider, 200),
            "state": c.state,
            "message": clean(c.message, 200),
        }
        for c in sorted(answer.contracts, key=lambda c: c.state == "Verified")
    ]
    for entry in entries:
        message["contracts"].append(entry)
        if len(_encode(message | {"truncated": True})) > MAX_BYTES:
            message["contracts"].pop()
            message["truncated"] = True
            break
    return _fit(message)


def _fit(message: dict[str, Any]) -> bytes:
    """Only texts of many-byte characters need this."""
    limit = 200
    while len(content := _encode(message)) > MAX_BYTES:
        message["truncated"] = True
        for key in ("message", "nextStep", "pacticipant", "version", "environment"):
            message[key] = clean(message[key], limit) or (message["verdict"] if key == "message" else "")
        limit //= 2
    return content


def _encode(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
