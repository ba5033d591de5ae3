"""What the operator costs while nothing happens: the real process, a real API server, 100 and 1,000 PactProviders.

The broker is a scripted one on loopback, where each provider has ten contracts, all verified. After a first start that
writes every status the operator is started anew, and that start is what is measured: how long until it has looked at
every provider, then a window in which nothing happens, then one full turn of sweeps, the last of which looks at all
providers although the broker is quiet. Prints figures, and ratios between the two sizes.
"""

import argparse
import asyncio
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console
from rich.table import Table

from pact_operator.engine.reconciler import SWEEPS_UNTIL_ALL
from tests.bench.scripted_broker import ScriptedBroker, consumer, sha
from tests.support.apiserver import Api, ApiServer, eventually, grant, running_apiserver
from tests.support.broker import free_port, source_path

NEEDS_CLUSTER: Final = False
CONTRACTS: Final = 10
NAMESPACE: Final = "bench"
_START_SECONDS: Final = 600.0
_AT_ONCE: Final = 16
_WRITES: Final = re.compile(
    r'^apiserver_request_total\{(?=[^}]*verb="(?:POST|PUT|PATCH|APPLY|DELETE|DELETECOLLECTION)")'
    r'(?=[^}]*(?:group="pact-operator\.dev"|group="batch"|resource="events"))[^}]*\} (\S+)',
    re.MULTILINE,
)

# What the operator of the chart may do, but for Secrets: this broker wants no credentials.
_RULES: Final = [
    {
        "apiGroups": ["pact-operator.dev"],
        "resources": ["*"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch", "create", "delete"]},
    {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["list", "watch"]},
]


@dataclass(frozen=True)
class Figures:
    """What one size cost.

    Attributes:
        first: Seconds from the first start until every status was written.
        known: Seconds from the restart until every provider had been looked at.
        known_cpu: CPU seconds of the process in that time: what does not depend on what else the machine does.
        start_requests: Requests to the broker in that time.
        start_writes: Writes to the API server in that time.
        quiet_requests: Requests to the broker per quiet sweep.
        quiet_writes: Writes to the API server per quiet sweep.
        quiet_cpu: CPU seconds per minute in which nothing happened.
        full_requests: Requests to the broker in the sweep that looks at all providers.
        full_cpu: CPU seconds of that sweep.
        share: CPU over a whole turn of sweeps at the default poll interval, in percent of a core.
        rss: Resident memory in MiB, at the end.
        rss_peak: The most that it ever was, in MiB.
    """

    first: float
    known: float
    known_cpu: float
    start_requests: float
    start_writes: float
    quiet_requests: float
    quiet_writes: float
    quiet_cpu: float
    full_requests: float
    full_cpu: float
    share: float
    rss: float
    rss_peak: float


LABELS: Final = {
    "first": ("first start -> every status written", "s"),
    "known": ("restart -> every provider looked at", "s"),
    "known_cpu": ("  CPU in that time", "s"),
    "start_requests": ("  broker requests in that time", ""),
    "start_writes": ("  API writes in that time", ""),
    "quiet_requests": ("broker requests per quiet sweep", ""),
    "quiet_writes": ("API writes per quiet sweep", ""),
    "quiet_cpu": ("CPU per quiet minute", "s"),
    "full_requests": (f"broker requests of every {SWEEPS_UNTIL_ALL + 1}st sweep", ""),
    "full_cpu": ("  its CPU", "s"),
    "share": ("CPU over a whole turn of sweeps", "% of a core"),
    "rss": ("resident memory", "MiB"),
    "rss_peak": ("  its peak", "MiB"),
}

GOALS: Final = {
    "known": "<= 10 s",
    "quiet_requests": "grows 1.00 x",
    "quiet_writes": "0",
    "share": "<= 1 % of a core",
    "rss": "<= 150 MiB",
}
"""For 1,000 providers with 10,000 contracts."""


@dataclass
class Operator:
    """The operator's process, and what `/proc` and its metrics tell of it."""

    process: asyncio.subprocess.Process
    http: httpx.AsyncClient
    started: float

    async def metric(self, name: str, labels: str = "") -> float:
        """Sum of a metric's samples whose labels begin like this."""
        text = (await self.http.get("/metrics")).text
        lines = [line for line in text.splitlines() if line.startswith(f"{name}{{{labels}")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    async def looks(self, kind: str) -> float:
        """Looks at objects of a kind that have ended."""
        return await self.metric("pact_operator_looks_total", f'kind="{kind}"')

    async def gone_quiet(self) -> bool:
        """Whether no object waits for a look."""
        text = (await self.http.get("/metrics")).text
        return "pact_operator_queue_depth 0.0" in text

    def cpu(self) -> float:
        """CPU seconds so far, all threads."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rsplit(") ", 1)[1].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, field: str) -> float:
        """`VmRSS` or `VmHWM` in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        [kib] = re.findall(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
        return int(kib) / 1024


@asynccontextmanager
async def operator(server: ApiServer, log: Path) -> AsyncIterator[Operator]:
    """Runs the operator as its Deployment does."""
    port, health = free_port(), free_port()
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "pact_operator",
            env={
                **{name: value for name, value in os.environ.items() if name.startswith("MALLOC_")},
                "PATH": os.environ["PATH"],
                "PYTHONPATH": source_path(),
                "KUBECONFIG": str(server.kubeconfig("operator")),
                "PACT_OPERATOR_WATCH_NAMESPACES": NAMESPACE,
                "PACT_OPERATOR_VERIFIER_IMAGE": "verifier:1",
                "PACT_OPERATOR_PUBLISHER_IMAGE": "publisher:1",
                "PACT_OPERATOR_LOG_LEVEL": "WARNING",
                "PACT_OPERATOR_HTTP_PORT": str(port),
                "PACT_OPERATOR_HEALTH_PORT": str(health),
            },
            stderr=output,
        )
    started = time.monotonic()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as http:
        running = Operator(process, http, started)

        async def answers() -> bool:
            if process.returncode is not None:
                raise AssertionError(f"the operator has ended:\n{_end_of(log)}")
            try:
                return (await http.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        try:
            await eventually(answers, "the operator is ready", within=_START_SECONDS)
            yield running
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-3000:]


async def populate(api: Api, url: str, providers: int) -> None:
    """Makes a PactBroker and its PactProviders, each with a run that has passed, as a lived-in cluster has."""
    await api.namespace(NAMESPACE)
    await api.create(_object("PactBroker", "broker", {"url": url, "pollInterval": "24h"}))
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> None:
        async with turns:
            name = f"provider-{number}"
            made = await api.create(_object("PactProvider", name, _provider_spec(name)))
            run = _object("PactVerification", f"{name}-run", _run_spec(name, url))
            owner = {"apiVersion": made["apiVersion"], "kind": "PactProvider", "name": name, "controller": True}
            run["metadata"] |= {
                "labels": {"pact-operator.dev/provider": name},
                "ownerReferences": [{**owner, "uid": made["metadata"]["uid"]}],
            }
            await api.create(run)
            await api.patch("PactVerification", NAMESPACE, f"{name}-run", {"status": _run_status(name)}, "/status")

    async with asyncio.TaskGroup() as group:
        for number in range(providers):
            group.create_task(one(number))


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "pact-operator.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}


def _target() -> dict[str, Any]:
    container = {"name": "provider", "image": "registry.example/team/provider:{version}"}
    template = {"spec": {"containers": [container]}}
    return {"ephemeral": {"port": 8080, "readinessPath": "/healthz", "template": template}}


def _provider_spec(name: str) -> dict[str, Any]:
    common = {"brokerRef": {"name": "broker"}, "pacticipant": name, "target": _target()}
    return {**common, "branch": "main", "version": {"value": "1.0.0"}}


def _run_spec(name: str, url: str) -> dict[str, Any]:
    pacts = [
        {
            "consumer": consumer(n),
            "contentSha": sha(name, n),
            "url": f"{url}/pacts/provider/{name}/consumer/{consumer(n)}/pact-version/{sha(name, n)}",
        }
        for n in range(CONTRACTS)
    ]
    common = {"brokerRef": {"name": "broker"}, "pacticipant": name, "target": _target()}
    return {**common, "providerVersion": "1.0.0", "pacts": pacts, "publishResults": True}


def _run_status(name: str) -> dict[str, Any]:
    when = "2026-01-01T00:00:00Z"
    passed = {"type": "Succeeded", "status": "True", "reason": "Passed", "message": "10 of 10 contracts hold."}
    pacts = [
        {"consumer": consumer(n), "contentSha": sha(name, n), "outcome": "Passed", "interactions": 3, "failed": 0}
        for n in range(CONTRACTS)
    ]
    return {
        "observedGeneration": 1,
        "completionTime": when,
        "conditions": [{**passed, "lastTransitionTime": when}],
        "pacts": pacts,
    }


async def writes(api: Api) -> float:
    """Writes to objects, Jobs and Events that the API server has served."""
    text = (await api.http.get("/metrics")).text
    return sum(float(value) for value in _WRITES.findall(text))


async def measure(providers: int, window: float, say: Callable[[str], None]) -> Figures:
    """Measures one size, with an API server of its own.

    Args:
        providers: how many PactProviders.
        window: seconds of quiet to look at.
        say: is told what goes on.
    """
    with tempfile.TemporaryDirectory(prefix="pact-bench-") as folder, running_apiserver(Path(folder)) as server:
        grant(server, _RULES)
        async with server.api() as api, ScriptedBroker(CONTRACTS) as broker:
            say(f"{providers} providers: making them")
            await populate(api, broker.url, providers)
            return await _measured(server, api, broker, providers, window, say)


async def _measured(
    server: ApiServer, api: Api, broker: ScriptedBroker, providers: int, window: float, say: Callable[[str], None]
) -> Figures:
    log = server.directory / "operator.log"
    say(f"{providers} providers: first start")
    async with operator(server, log) as running:
        await eventually(lambda: _all_verified(api, providers), "every status", within=_START_SECONDS, every=0.5)
        first = time.monotonic() - running.started
        await _settled(running, api)
    say(f"{providers} providers: restart")
    before, written = Counter(broker.requests), await writes(api)
    async with operator(server, log) as running:
        await eventually(lambda: _looked(running, providers), "every look", within=_START_SECONDS, every=0.1)
        known, known_cpu = time.monotonic() - running.started, running.cpu()
        await _settled(running, api)
        start_requests, start_writes = (broker.requests - before).total(), await writes(api) - written

        say(f"{providers} providers: {window:g} seconds of quiet at the default poll interval")
        await _poll_every(api, running, "30s")
        sweeps, before, written, cpu = await _mark(running, api, broker)
        await asyncio.sleep(window)
        swept, after, rewritten, used = await _mark(running, api, broker)
        quiet = max(1.0, swept - sweeps)
        quiet_requests, quiet_writes = (after - before).total() / quiet, (rewritten - written) / quiet
        quiet_cpu = (used - cpu) * 60 / window

        say(f"{providers} providers: a full turn of sweeps, one per second")
        await _poll_every(api, running, "1s")
        looked = await running.looks("PactProvider")
        sweeps, before, _, cpu = await _mark(running, api, broker)
        begun = time.monotonic()
        await eventually(
            lambda: _reached(running, looked + providers), "a full sweep", within=_START_SECONDS, every=0.2
        )
        await _settled(running, api)
        swept, after, _, used = await _mark(running, api, broker)
        idle = quiet_cpu / 60 * (time.monotonic() - begun)
        full_requests = (after - before).total() - quiet_requests * (swept - sweeps - 1)
        full_cpu = max(0.0, used - cpu - idle)
        # At the default poll interval of 30 s one look at all providers falls into each turn.
        turn = 30.0 * (SWEEPS_UNTIL_ALL + 1)
        return Figures(
            first=first,
            known=known,
            known_cpu=known_cpu,
            start_requests=start_requests,
            start_writes=start_writes,
            quiet_requests=quiet_requests,
            quiet_writes=quiet_writes,
            quiet_cpu=quiet_cpu,
            full_requests=full_requests,
            full_cpu=full_cpu,
            share=100 * (quiet_cpu / 60 + full_cpu / turn),
            rss=running.memory("VmRSS"),
            rss_peak=running.memory("VmHWM"),
        )


async def _mark(running: Operator, api: Api, broker: ScriptedBroker) -> tuple[float, Counter[str], float, float]:
    return await running.looks("PactBroker"), Counter(broker.requests), await writes(api), running.cpu()


async def _poll_every(api: Api, running: Operator, interval: str) -> None:
    """Sets the poll interval, and waits until what that stirs up has come to rest."""
    await api.patch("PactBroker", NAMESPACE, "broker", {"spec": {"pollInterval": interval}})
    await _settled(running, api)


async def _settled(running: Operator, api: Api) -> None:
    # Two questions a moment apart with the same answer: nothing waits, nothing was looked at or written in between.
    seen: list[tuple[float, float]] = []

    async def same() -> bool:
        seen.append((await running.looks("PactProvider"), await writes(api)))
        return await running.gone_quiet() and len(seen) > 1 and seen[-1] == seen[-2]

    await eventually(same, "the operator comes to rest", within=_START_SECONDS, every=1.0)


async def _all_verified(api: Api, providers: int) -> bool:
    found = await api.list("PactProvider", NAMESPACE)
    return sum(int((body.get("status") or {}).get("verified") == CONTRACTS) for body in found) == providers


async def _looked(running: Operator, providers: int) -> bool:
    return await running.looks("PactProvider") >= providers


async def _reached(running: Operator, looks: float) -> bool:
    return await running.looks("PactProvider") >= looks


def show(sizes: Sequence[int], found: Sequence[Figures], console: Console) -> None:
    """Prints the figures side by side, and how they grow."""
    title = f"The operator at rest, {CONTRACTS} contracts per provider, one PactBroker"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for size in sizes:
        table.add_column(f"{size:,} providers", justify="right")
    if len(sizes) > 1:
        table.add_column(f"grows (providers: {sizes[-1] / sizes[0]:g} x)", justify="right")
    table.add_column("goal at 1,000", justify="right")
    for field in fields(Figures):
        label, unit = LABELS[field.name]
        values = [float(getattr(one, field.name)) for one in found]
        row = [f"{value:,.2f} {unit}".strip() if unit else f"{value:,.1f}" for value in values]
        if len(sizes) > 1:
            row.append(f"{values[-1] / values[0]:.2f} x" if values[0] else "-")
        table.add_row(label, *row, GOALS.get(field.name, ""))
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark.

    Returns:
        The exit code: 0 done, 1 the API server or the operator did not do as asked.
    """
    parser = argparse.ArgumentParser(prog="idle", description=__doc__)
    parser.add_argument("--providers", type=int, nargs="+", default=[100, 1000], help="sizes (default: 100 1000)")
    parser.add_argument("--seconds", type=float, default=65.0, help="seconds of quiet to look at (default: 65)")
    options = parser.parse_args(arguments)
    if min(options.providers) < 1 or options.seconds < 31:
        parser.error("--providers must be at least 1, --seconds at least 31 (one sweep)")
    try:
        found = [
            asyncio.run(measure(size, options.seconds, lambda text: print(text, file=sys.stderr)))
            for size in options.providers
        ]
    except AssertionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    console = Console()
    show(options.providers, found, console if console.is_terminal else Console(width=120))
    return 0


if __name__ == "__main__":
    sys.exit(main())
