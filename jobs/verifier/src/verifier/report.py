"""The log: a table first, then every mismatch in full. Pure."""

from collections.abc import Iterator, Sequence

from brokerclient.text import clean, clean_block
from verifier.outcome import InteractionFailure, PactFacts, PactOutcome, Verdict

_MAX_DETAILS = 4 * 1024 * 1024
"""Characters of failures: the kubelet keeps 10 MiB of a container's log, and drops its beginning first."""
_MAX_LINE = 20_000
_HEADERS = ("CONSUMER", "CONTENT", "OUTCOME", "INTERACTIONS", "FAILED", "RECORDED")
_TITLES = {PactOutcome.FAILED: "contract broken", PactOutcome.PENDING_FAILED: "failed, and pending: does not count"}


def log_text(verdict: Verdict) -> str:
    """Write what a person wants to know, most important first."""
    reason = "" if verdict.reason.value == verdict.outcome.value else f" ({verdict.reason.value})"
    lines = [f"{verdict.outcome.value}{reason}: {verdict.message}", ""]
    if verdict.pacts:
        lines += table(_HEADERS, [_row(pact) for pact in verdict.pacts])
    room = _MAX_DETAILS
    for pact in verdict.pacts:
        if pact.problem is not None:
            lines += ["", f"{clean(pact.consumer)}: not verified: {pact.problem.message}"]
        if pact.record_problem:
            lines += ["", f"{clean(pact.consumer)}: the result is not recorded: {pact.record_problem}"]
        if pact.failures:
            told = _failures(pact, room)
            room -= sum(map(len, told))
            lines += ["", *told]
    # Everything below the headings was written by others.
    return "\n".join(clean_block(line, _MAX_LINE) for line in lines) + "\n"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns with spaces, as kubectl does."""
    widths = [max(len(row[column]) for row in (headers, *rows)) for column in range(len(headers))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (headers, *rows)
    ]


def _row(pact: PactFacts) -> tuple[str, ...]:
    recorded = {None: "no", True: "yes", False: "MISSING"}[pact.recorded]
    return (
        clean(pact.consumer, 60),
        clean(pact.content_sha, 64)[:12],
        pact.outcome.value,
        str(pact.interactions),
        str(len(pact.counted)),
        recorded,
    )


def _failures(pact: PactFacts, room: int) -> list[str]:
    title = _TITLES.get(pact.outcome, "failures of interactions that the consumer marked as pending")
    lines = [f"{clean(pact.consumer)} ({clean(pact.content_sha, 64)}): {title}"]
    for number, failure in enumerate(pact.failures, start=1):
        told = [f"  {number}. {failure.description}" + ("  (pending interaction)" if failure.pending else "")]
        told += [f"     {line}" for line in failure_lines(failure)]
        room -= sum(map(len, told))
        if room < 0:
            return [*lines, f"  ... and {len(pact.failures) - number + 1} more"]
        lines += told
    return lines


def failure_lines(failure: InteractionFailure) -> Iterator[str]:
    """What was given, and each mismatch: in words, in the core's own words, and both values."""
    for state in failure.states:
        yield f"given {clean(state)}"
    for mismatch in failure.mismatches:
        yield f"- {mismatch.summary}"
        if mismatch.detail and mismatch.detail not in mismatch.summary:
            yield f"    {mismatch.detail}"
        for label, value in (("expected", mismatch.expected), ("actual", mismatch.actual)):
            if value is not None:
                yield f"    {label + ':':<10}{_indented(value)}"


def _indented(text: str) -> str:
    return clean_block(text).replace("\n", "\n" + " " * 19)
