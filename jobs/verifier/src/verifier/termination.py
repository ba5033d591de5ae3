"""The termination message: what the operator reads when the verifier has ended."""

import json
from typing import Any

from brokerclient.text import clean
from verifier.outcome import PactFacts, PactOutcome, Verdict

SCHEMA = "pact-operator.dev/verifier/v1"
MAX_BYTES = 4095  # the kubelet keeps 4096 and cuts without asking
_NAME = 255
_MISMATCH = 500


def render(verdict: Verdict) -> bytes:
    """Write a verdict as JSON of at most 4095 bytes of UTF-8.

    What does not fit is left out in this order: mismatch texts from the end, then entries of pacts from the end,
    passed ones first, then the end of the message; `truncated` says so.
    """
    message: dict[str, Any] = {
        "schema": SCHEMA,
        "outcome": verdict.outcome.value,
        "reason": verdict.reason.value,
        "message": clean(verdict.message, 600) or verdict.reason.value,
        "provider": clean(verdict.provider, _NAME),
        "providerVersion": clean(verdict.provider_version, _NAME),
        "published": verdict.published,
        "pacts": [],
        "durationSeconds": round(max(0.0, verdict.duration), 3),
        "truncated": False,
    }
    entries = [_entry(pact) for pact in verdict.pacts]
    kept = _fit(entries, MAX_BYTES - len(_encode(message)))
    message["truncated"] = kept != entries
    message["pacts"] = kept
    content = _encode(message)
    while len(content) > MAX_BYTES:  # only names and a message of many-byte characters get here
        message["truncated"] = True
        for key in ("message", "provider", "providerVersion"):
            message[key] = clean(message[key], max(20, len(message[key]) // 2))
        content = _encode(message)
    return content


def _entry(pact: PactFacts) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "consumer": clean(pact.consumer, _NAME),
        "contentSha": clean(pact.content_sha, 64),
        "outcome": pact.outcome.value,
        "interactions": pact.interactions,
        "failed": len(pact.counted),
    }
    text = pact.problem.message if pact.problem else pact.failures[0].summary if pact.failures else ""
    if pact.counted:
        text = pact.counted[0].summary
    if text:
        entry["mismatch"] = clean(text, _MISMATCH)
    return entry


def _fit(entries: list[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    kept: list[dict[str, Any] | None] = [dict(entry) for entry in entries]
    sizes = [len(_encode(entry)) + 1 for entry in entries]  # and a comma
    total = sum(sizes)
    by_index = range(len(entries) - 1, -1, -1)
    for index in by_index:
        if total <= room:
            break
        entry = kept[index]
        if entry is not None and entry.pop("mismatch", None) is not None:
            size = len(_encode(entry)) + 1
            total += size - sizes[index]
            sizes[index] = size
    passed_first = sorted(by_index, key=lambda index: entries[index]["outcome"] != PactOutcome.PASSED)
    for index in passed_first:
        if total <= room:
            break
        kept[index] = None
        total -= sizes[index]
    return [entry for entry in kept if entry is not None]


def _encode(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
