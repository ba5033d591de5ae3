"""What the demo shows: the matrix as the broker holds it beside what the objects say, and the contracts that broke."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from pact_cluster.demo_broker import Verdict
from pact_cluster.demo_kube import Object, condition

# A pipe has no width: what is written there is read in logs and in editors.
_PLAIN_WIDTH = 150
_HELM_LOG = re.compile(r'^level=INFO msg="(May (?:[^"\\]|\\.)*)"$', re.MULTILINE)
_FIELD = re.compile(r"\$(?:\.[A-Za-z_][\w-]*|\['[^']+'\]|\[[\d*]+\])+")


@dataclass(frozen=True)
class Row:
    """One pair of the matrix, from both sides.

    Attributes:
        broker: What the broker says: `verified` or `FAILED`.
        objects: What the PactProvider says: a state such as `Verified`, or `-` for versions that do not matter now.
        failure: Which interaction failed, and how.
        agree: False where the two contradict each other.
    """

    consumer: str
    provider: str
    broker: str
    objects: str
    failure: str
    agree: bool


def rows(verdicts: Iterable[Verdict], providers: Mapping[str, Object]) -> list[Row]:
    """Join the broker's matrix with the objects' status.

    Args:
        verdicts: From the broker, of equal content the newest consumer version first.
        providers: PactProviders by pacticipant.

    Returns:
        One row per content and provider version: consumer versions of equal content share their verdict. What matters
        now comes first; else in the order of `verdicts`.
    """
    alike: dict[tuple[str, ...], list[Verdict]] = {}
    for verdict in verdicts:
        key = (verdict.consumer, verdict.content_sha, verdict.provider, verdict.provider_version)
        alike.setdefault(key, []).append(verdict)
    result: list[Row] = []
    for verdict, *others in alike.values():
        contract = _contract(verdict, providers)
        state = contract.get("state", "-")
        failure = "" if verdict.success else contract.get("message") or "; ".join(verdict.failures)
        more = f" (and {len(others)} before it, alike)" if others else ""
        result.append(
            Row(
                f"{verdict.consumer} {verdict.consumer_version}{more}",
                f"{verdict.provider} {verdict.provider_version}",
                "verified" if verdict.success else "FAILED",
                state,
                failure,
                state == "-" or (state == "Verified") == verdict.success,
            )
        )
    return sorted(result, key=lambda row: row.objects == "-")


def _contract(verdict: Verdict, providers: Mapping[str, Object]) -> Mapping[str, str]:
    for contract in providers.get(verdict.provider, {}).get("status", {}).get("contracts") or []:
        wanted = (verdict.consumer, verdict.provider_version, verdict.content_sha)
        if (contract["consumer"], contract["providerVersion"], contract["contentSha"]) == wanted:
            return dict(contract)
    return {}


def field_of(message: str) -> str:
    """The JSON path that a mismatch names; empty if it names none."""
    found = _FIELD.search(message)
    return found[0] if found else ""


@dataclass(frozen=True)
class Broken:
    """A contract that does not hold."""

    provider: str
    version: str
    consumer: str
    field: str
    message: str


def broken(providers: Mapping[str, Object]) -> list[Broken]:
    """All contracts that the objects call broken; those of versions that somebody only asked about do not count."""
    return [
        Broken(
            name,
            contract["providerVersion"],
            contract["consumer"],
            field_of(contract.get("message", "")),
            contract.get("message", ""),
        )
        for name, item in sorted(providers.items())
        for contract in item.get("status", {}).get("contracts") or []
        if contract["state"] == "Failed" and contract["providerVersion"] not in _candidates(item)
    ]


def _candidates(item: Object) -> set[str]:
    status = item.get("status", {})
    return {candidate["version"] for candidate in status.get("candidates") or []} - {status.get("version", "")}


def gate_excerpt(text: str) -> str:
    """What the Job that asks the gate said, out of all that helm wrote; empty if nobody asked.

    Args:
        text: helm's output with the log of its hook, which helm 4 writes as one quoted line and helm 3 as it is.
    """
    kept: list[str] = []
    for line in _HELM_LOG.sub(_unquoted, text).splitlines():
        if kept and line.startswith(("Error:", "level=", "Release ", "NAME:")):
            break
        if kept or line.startswith("May "):
            kept.append(line)
    return "\n".join(kept).rstrip()


def _unquoted(found: re.Match[str]) -> str:
    try:
        return str(json.loads(f'"{found[1]}"'))
    except ValueError:
        return found[1].replace("\\n", "\n")


def describe_excerpt(text: str) -> str:
    """The conditions and the events out of `kubectl describe`.

    Args:
        text: All that it wrote.
    """
    kept: list[str] = []
    keeping_from: int | None = None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if keeping_from is not None and line.strip() and indent <= keeping_from:
            keeping_from = None
        if line.strip() in ("Conditions:", "Events:") or line.startswith(("Name:", "Kind:", "Events:")):
            keeping_from = indent
        if keeping_from is not None:
            kept.append(line)
    return "\n".join(kept)


class View:
    """Writes tables to standard output."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal and console is None:
            self.console = Console(highlight=False, width=_PLAIN_WIDTH)

    def say(self, text: str) -> None:
        """Write one line."""
        self.console.print(text, markup=False, soft_wrap=True)

    def matrix(self, found: Sequence[Row]) -> None:
        """The matrix, both sides."""
        if not found:
            self.say("The broker holds no verification result yet.")
            return
        table = Table(title="The matrix", title_justify="left")
        for column in ("consumer version", "provider version", "broker", "PactProvider", "what failed"):
            table.add_column(column, overflow="fold")
        for row in found:
            colour = "green" if row.broker == "verified" else "red"
            failure = row.failure if row.agree else f"the two disagree; {row.failure}"
            table.add_row(
                row.consumer, row.provider, f"[{colour}]{row.broker}[/]", row.objects, failure.replace("[", r"\[")
            )
        self.console.print(table)

    def broken(self, found: Sequence[Broken]) -> None:
        """Which contract broke, and where."""
        table = Table(title="Broken contracts", title_justify="left")
        for column in ("provider", "version", "consumer", "field", "interaction and mismatch"):
            table.add_column(column, overflow="fold")
        for item in found:
            table.add_row(
                item.provider,
                item.version,
                item.consumer,
                item.field.replace("[", r"\["),
                item.message.replace("[", r"\["),
            )
        self.console.print(table)

    def objects(self, found: Iterable[Object]) -> None:
        """Objects and their main condition."""
        table = Table(title="The objects", title_justify="left")
        for column in ("object", "version", "ready", "reason", "message"):
            table.add_column(column, overflow="fold")
        colours = {"True": "green", "False": "red"}
        for item in found:
            ready = condition(item)
            colour = colours.get(ready.status, "yellow")
            table.add_row(
                f"{item.get('kind', '')} {item['metadata']['name']}",
                item.get("status", {}).get("version") or "",
                f"[{colour}]{ready.status or '-'}[/]",
                ready.reason,
                ready.message.replace("[", r"\["),
            )
        self.console.print(table)

    def deployments(self, found: Iterable[Object]) -> None:
        """What runs beside what the broker holds as deployed."""
        table = Table(title="What runs, and what the broker holds as deployed", title_justify="left")
        for column in ("pacticipant", "environment", "runs", "broker", "recorded"):
            table.add_column(column, overflow="fold")
        colours = {"True": "green", "False": "red"}
        for item in found:
            told = condition(item, "Recorded")
            shown = item.get("status", {}).get("deployment") or {}
            table.add_row(
                item["spec"]["pacticipant"],
                shown.get("environment", ""),
                shown.get("running") or "nothing",
                ", ".join(shown.get("inBroker") or []) or "nothing",
                f"[{colours.get(told.status, 'yellow')}]{told.reason or '-'}[/]",
            )
        self.console.print(table)

    def timings(self, steps: Sequence[tuple[str, float]]) -> None:
        """How long each step took."""
        table = Table(title="Where the time went", title_justify="left")
        table.add_column("step")
        table.add_column("seconds", justify="right")
        for title, seconds in steps:
            table.add_row(title, f"{seconds:.1f}")
        table.add_section()
        table.add_row("all", f"{sum(seconds for _, seconds in steps):.1f}")
        self.console.print(table)
