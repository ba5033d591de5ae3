"""What a person sees: tables and sentences out of objects. Pure; times are given."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pactctl.objects import (
    Condition,
    Deployment,
    Object,
    Row,
    advice,
    condition,
    conditions,
    is_current,
    matrix,
    named,
    namespace_of,
    standing,
    version_of,
)

STYLES: Final = {
    "True": "green",
    "False": "red",
    "Unknown": "yellow",
    "Verified": "green",
    "Passed": "green",
    "Failed": "bold red",
    "Blocked": "red",
    "Error": "red",
    "PendingFailed": "yellow",
    "Owed": "yellow",
    "Running": "cyan",
    "Ignored": "dim",
    "Missing": "yellow",
}
"""Colour only says once more what the word says."""
MAX_VERSION: Final = 24


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _word(text: str) -> Text:
    return Text(text, style=STYLES.get(text, ""))


def short(version: str) -> str:
    """A version that fits a column: long ones, such as digests, keep their start."""
    return version if len(version) <= MAX_VERSION else version[: MAX_VERSION - 1] + "…"


def status(objects: Sequence[Object], *, everywhere: bool) -> RenderableType:
    """The matrix, and below it each object that is not a run.

    Args:
        objects: of any of our kinds.
        everywhere: whether they are of several namespaces.
    """
    if not objects:
        return Text("There are no objects of Pact Operator here: create a PactBroker first.")
    parts: list[RenderableType] = []
    rows = matrix(objects)
    if rows:
        parts.append(_matrix(rows, everywhere=everywhere))
    standing_objects = [found for found in objects if found["kind"] != "PactVerification"]
    parts.append(_objects(standing_objects, everywhere=everywhere))
    running = [found for found in objects if found["kind"] == "PactVerification" and not _over(found)]
    if running:
        parts.append(_runs(running, everywhere=everywhere))
    return Group(*parts)


def _over(run: Object) -> bool:
    return bool((run.get("status") or {}).get("completionTime"))


def _matrix(rows: Iterable[Row], *, everywhere: bool) -> Table:
    first = ["namespace"] if everywhere else []
    table = _table("Contracts", *first, "consumer", "provider", "version", "state", "why")
    for row in rows:
        cells: list[str | Text] = [row.namespace] if everywhere else []
        note = "" if row.current else " (asked about)" if row.candidate else " (in use elsewhere)"
        version = short(row.version) + note
        told = "" if row.state == "Verified" else row.message or row.reason
        table.add_row(*cells, row.consumer, row.provider, version, _word(row.state), Text(told))
    return table


def _objects(objects: Iterable[Object], *, everywhere: bool) -> Table:
    first = ["namespace"] if everywhere else []
    table = _table("Objects", *first, "object", "version", "ready", "reason", "deployable", "recorded", "message")
    for found in objects:
        ready = standing(found)
        cells: list[str | Text] = [namespace_of(found)] if everywhere else []
        stale = "" if is_current(found) else " (of an older spec)"
        table.add_row(
            *cells,
            named(found),
            short(version_of(found)),
            _word(ready.status or "-"),
            (ready.reason or "not looked at yet") + stale,
            _word(condition(found, "Deployable").status or "-"),
            _word(condition(found, "Recorded").status or "-"),
            Text("" if ready.status == "True" else ready.message),
        )
    return table


def _runs(runs: Iterable[Object], *, everywhere: bool) -> Table:
    first = ["namespace"] if everywhere else []
    table = _table("Under way", *first, "run", "version", "reason", "message")
    for run in runs:
        now = standing(run)
        cells: list[str | Text] = [namespace_of(run)] if everywhere else []
        table.add_row(
            *cells, run["metadata"]["name"], short(version_of(run)), now.reason or "Pending", Text(now.message)
        )
    return table


def run_result(run: Object) -> RenderableType:
    """What a PactVerification says of each pact."""
    pacts = (run.get("status") or {}).get("pacts") or ()
    if not pacts:
        return Text("")
    table = _table(
        f"{named(run)}: {version_of(run)}", "consumer", "outcome", "interactions", "failed", "first mismatch"
    )
    for pact in pacts:
        table.add_row(
            str(pact.get("consumer", "")),
            _word(str(pact.get("outcome", ""))),
            str(pact.get("interactions", "")),
            str(pact.get("failed", "")),
            Text(str(pact.get("mismatch", ""))),
        )
    return table


def decision(answer: Mapping[str, Any]) -> RenderableType:
    """The gate's answer: the contracts that count, then the sentence."""
    parts: list[RenderableType] = []
    contracts = answer.get("contracts") or ()
    if contracts:
        target = answer.get("environment") or ""
        table = _table(
            f"Contracts with what is in {target}", "consumer", "version", "provider", "version", "state", "why"
        )
        for one in contracts:
            table.add_row(
                str(one.get("consumer", "")),
                short(str(one.get("consumerVersion") or "-")),
                str(one.get("provider", "")),
                short(str(one.get("providerVersion") or "-")),
                _word("Ignored" if one.get("ignored") else str(one.get("state", ""))),
                Text(str(one.get("message") or "")),
            )
        parts.append(table)
    said = "Yes" if answer.get("allowed") else "No"
    shadow = " (the gate is in shadow mode, and lets all pass)" if answer.get("shadow") else ""
    style = "bold green" if answer.get("verdict") == "Allowed" else "bold red"
    parts.append(
        Text.assemble((f"{said}: {answer.get('verdict', '')}{shadow}. ", style), str(answer.get("message", "")))
    )
    if answer.get("verdict") != "Allowed" and answer.get("nextStep"):
        parts.append(Text(f"Next: {answer['nextStep']}"))
    return Group(*parts)


def explanation(found: Object, events: Sequence[Object]) -> RenderableType:
    """Why an object is as it is, who must act, and what to do next."""
    parts: list[RenderableType] = []
    ready = standing(found)
    head = f"{named(found)} in {namespace_of(found)}"
    version = version_of(found)
    parts.append(
        Text.assemble(
            (head, "bold"), f" {version}" if version else "", ": ", _word(ready.reason or "not looked at yet")
        )
    )
    if not is_current(found):
        parts.append(Text("The operator has not looked at its present spec yet: is it running?", style="yellow"))
    for one in conditions(found):
        parts += _explained(one)
    contracts = [row for row in matrix([found]) if row.state != "Verified"]
    if contracts:
        parts.append(_matrix(contracts, everywhere=False))
    if found["kind"] == "PactVerification":
        parts.append(run_result(found))
    if events:
        table = _table("Events", "when", "type", "reason", "message")
        for event in events[-8:]:
            when = str(event.get("eventTime") or event.get("lastTimestamp") or "")[:19].replace("T", " ")
            table.add_row(
                when, str(event.get("type", "")), str(event.get("reason", "")), Text(str(event.get("message", "")))
            )
        parts.append(table)
    return Group(*parts)


def _explained(one: Condition) -> list[RenderableType]:
    lines: list[RenderableType] = [Text()]
    lines.append(Text.assemble((one.type, "bold"), " is ", _word(one.status), f": {one.reason}. {one.message}"))
    told = advice(one.reason)
    if told is None:
        lines.append(Text("  This pactctl does not know that reason: it is older than the operator.", style="yellow"))
        return lines
    if one.status != "True" or not told.actor.startswith("nobody"):
        lines.append(Text(f"  Who must act:     {told.actor}"))
        lines.append(Text(f"  Next:             {told.next_step}"))
        helps = "yes, it is tried again by itself" if told.retried else "no"
        lines.append(Text(f"  Does waiting help: {helps}"))
    return lines


def explained(found: Object, events: Sequence[Object]) -> dict[str, Any]:
    """The same for `-o json`."""
    told = []
    for one in conditions(found):
        known = advice(one.reason)
        told.append(
            {
                "type": one.type,
                "status": one.status,
                "reason": one.reason,
                "message": one.message,
                "actor": known.actor if known else None,
                "nextStep": known.next_step if known else None,
                "retried": known.retried if known else None,
            }
        )
    return {
        "object": named(found),
        "namespace": namespace_of(found),
        "version": version_of(found) or None,
        "current": is_current(found),
        "conditions": told,
        "contracts": [row.shown() for row in matrix([found])],
        "events": [
            {"type": event.get("type"), "reason": event.get("reason"), "message": event.get("message")}
            for event in events
        ],
    }


def drift(found: Sequence[Deployment]) -> RenderableType:
    """What runs beside what the broker holds as deployed."""
    if not found:
        return Text(
            "Nothing is compared here: give the PactBroker spec.environment, and an object a version.fromWorkload."
        )
    table = _table("Deployments", "object", "environment", "runs", "broker holds", "recorded", "reason", "message")
    for one in found:
        instance = f" ({one.instance})" if one.instance else ""
        table.add_row(
            one.object,
            one.environment + instance,
            short(one.running) or "nothing",
            ", ".join(map(short, one.in_broker)) or "nothing",
            _word(one.status),
            one.reason,
            Text("" if one.status == "True" else one.message),
        )
    return table


def shown(found: Object) -> dict[str, Any]:
    """An object for `-o json` of `status`: what the table shows."""
    ready = standing(found)
    return {
        "object": named(found),
        "namespace": namespace_of(found),
        "version": version_of(found) or None,
        "current": is_current(found),
        "status": ready.status or None,
        "reason": ready.reason or None,
        "message": ready.message or None,
        "deployable": condition(found, "Deployable").status or None,
        "recorded": condition(found, "Recorded").status or None,
    }
