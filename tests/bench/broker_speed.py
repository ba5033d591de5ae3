"""What broker_lite takes per request with 10, 1,000 and 100,000 results in its store, on Postgres and on SQLite.

Each store is filled in bulk with the history of the same few pacticipants, so that every answer is of one size. The
server is the real process; four clients on loopback, each with one connection, ask in turns for a few seconds per
route, on the same machine. Prints requests per second, the 99th percentile of their time and the CPU time of the server
and its database per request, and ratios to the smallest store, and to a liveness probe of the same run, which asks no
database: the floor. On a machine that does other things too, believe the CPU times.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from rich.console import Console
from rich.table import Table

from broker_lite.store.engine import Store, connect
from services.broker_lite.tests.support import postgres
from services.broker_lite.tests.support.fill import ENVIRONMENT, Filled, consumer, content_sha, fill, provider
from services.broker_lite.tests.support.server import publication
from tests.support.broker import free_port, source_path

NEEDS_CLUSTER: Final = False
BACKENDS: Final = ("postgres", "sqlite")
_CLIENTS: Final = 4
_START_SECONDS: Final = 60.0
_JSON: Final = {"accept": "application/hal+json", "content-type": "application/json"}

Request = tuple[str, str, str | None]
"""Method, path, JSON body."""
Maker = Callable[[int], Request]
"""Makes a route's n-th request."""


@dataclass(frozen=True)
class Figures:
    """One route, at one size.

    Attributes:
        rate: Requests per second of all clients together.
        typical: Median seconds of a request.
        p99: 99th percentile of a request's seconds.
        cpu: CPU seconds per request of the server and, with Postgres, of the database.
    """

    rate: float
    typical: float
    p99: float
    cpu: float


@dataclass(frozen=True)
class Target:
    """A running server.

    Attributes:
        port: Where it listens on loopback.
        pid: Its process.
        database: The database's first process, if it has one of its own.
    """

    port: int
    pid: int
    database: int | None

    def cpu(self) -> float:
        """CPU seconds so far of the server and of the database's processes that live."""
        pids = [self.pid]
        if self.database is not None:
            children = Path(f"/proc/{self.database}/task/{self.database}/children").read_text(encoding="ascii")
            pids += [self.database, *(int(child) for child in children.split())]
        return sum(_cpu(pid) for pid in pids)


def _cpu(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(") ", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def routes(made: Filled) -> dict[str, Maker]:
    """What is asked, by what the table calls it; the floor first, what writes last."""
    one, other = consumer(0), provider(0)
    changing = consumer(1)
    newest = made.newest_consumer_version
    selectors = [{"mainBranch": True}, {"deployedOrReleased": True}]
    asked: dict[str, object] = {"providerVersionBranch": "main", "consumerVersionSelectors": selectors}
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    wip = asked | {"providerVersionBranch": "feature-new", "includeWipPactsSince": yesterday}
    theirs = made.newest_provider_version
    pair = f"q[][pacticipant]={one}&q[][version]={newest}&latestby=cvpv&q[][pacticipant]={other}"
    deploys = "can-i-deploy?pacticipant={}&version={}&environment=" + ENVIRONMENT
    results = f"/pacts/provider/{other}/consumer/{one}/pact-version/{content_sha(0, 0)}/verification-results"

    def get(path: str) -> Maker:
        return lambda _number: ("GET", path, None)

    def post(path: str, body: object) -> Maker:
        text = json.dumps(body)
        return lambda _number: ("POST", path, text)

    def publish(number: int) -> Request:
        # A new version each time, with the content that the consumer's last version had.
        body = publication(changing, f"new-{number}", other, "the same", branch="main", tags=["main"])
        return "POST", "/contracts/publish", json.dumps(body)

    def verified(number: int) -> Request:
        return "POST", results, json.dumps({"success": True, "providerApplicationVersion": f"new-{number}"})

    return {
        "heartbeat (the floor)": get("/diagnostic/status/heartbeat"),
        "pacts for verification": post(f"/pacts/provider/{other}/for-verification", asked),
        "  with work in progress": post(f"/pacts/provider/{other}/for-verification", wip),
        "matrix of two versions": get(f"/matrix?{pair}&q[][version]={theirs}"),
        "matrix of a pair (up to 100 rows)": get(f"/matrix/provider/{other}/consumer/{changing}"),
        "can-i-deploy a consumer": get("/" + deploys.format(one, newest)),
        "can-i-deploy a provider": get("/" + deploys.format(other, theirs)),
        "dashboard": get("/dashboard"),
        "result": verified,
        "publish": publish,
    }


@contextlib.contextmanager
def served(url: str, folder: Path, database: int | None) -> Iterator[Target]:
    """A broker_lite process on a store."""
    port, log = free_port(), folder / "broker.log"
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": source_path(),
        "PACT_BROKER_HOST": "127.0.0.1",
        "PACT_BROKER_PORT": str(port),
        "PACT_BROKER_DATABASE_URL": url,
    }
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "broker_lite"], env=env, stdout=output, stderr=output)
        try:
            _await(port, process, log)
            yield Target(port, process.pid, database)
        finally:
            process.terminate()
            process.wait(30)


def _await(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/diagnostic/status/heartbeat")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.05)
            continue
        finally:
            connection.close()
        return
    raise RuntimeError(f"broker_lite did not start:\n{log.read_text(errors='replace')[-3000:]}")


def measure(target: Target, make: Maker, seconds: float) -> Figures:
    """Ask for some seconds, from `_CLIENTS` connections.

    Raises:
        RuntimeError: An answer was no success.
    """
    numbers = itertools.count()
    times: list[float] = []
    problems: list[str] = []
    start = threading.Barrier(_CLIENTS + 1)
    ends = float("inf")

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=120)
        own: list[float] = []
        try:
            # The first request of each connection is not counted.
            for warm in (True, False):
                if not warm:
                    start.wait(300)
                while not problems:
                    method, path, body = make(next(numbers))
                    began = time.perf_counter()
                    connection.request(method, path, body, _JSON)
                    answer = connection.getresponse()
                    text = answer.read()
                    ended = time.perf_counter()
                    if answer.status >= 400:
                        problems.append(f"{method} {path}: {answer.status} {text[:300]!r}")
                    if warm:
                        break
                    own.append(ended - began)
                    if ended >= ends:
                        break
        except (OSError, http.client.HTTPException) as error:
            problems.append(repr(error))
            start.abort()
        finally:
            connection.close()
        times.extend(own)

    threads = [threading.Thread(target=client, daemon=True) for _ in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    with contextlib.suppress(threading.BrokenBarrierError):
        start.wait(300)
    began, cpu = time.perf_counter(), target.cpu()
    ends = began + seconds
    for thread in threads:
        thread.join()
    elapsed, cpu = time.perf_counter() - began, target.cpu() - cpu
    if problems:
        raise RuntimeError(problems[0])
    p99 = quantiles(times, n=100, method="inclusive")[-1] if len(times) > 1 else times[0]
    return Figures(len(times) / elapsed, median(times), p99, cpu / len(times))


def run(backend: str, sizes: Sequence[int], seconds: float, say: Callable[[str], None]) -> list[dict[str, Figures]]:
    """Measure one database at every size, each in a store of its own; figures by route."""
    found = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="broker-lite-bench-")))
        server = stack.enter_context(postgres.server()) if backend == "postgres" else None
        for size in sizes:
            url = server.new_database() if server is not None else f"sqlite:///{folder / f'{size}.db'}"
            store = Store(connect(url))
            store.migrate()
            began = time.perf_counter()
            made = fill(store, size)
            store.close()
            say(f"{backend}: {size:,} results written in {time.perf_counter() - began:.1f} s")
            figures = {}
            with served(url, folder, _postmaster(server)) as target:
                for name, make in routes(made).items():
                    one = figures[name] = measure(target, make, seconds)
                    times = f"p99 {1000 * one.p99:.1f} ms, CPU {1000 * one.cpu:.1f} ms"
                    say(f"  {name.strip()}: {one.rate:.0f}/s, {times}")
            found.append(figures)
    return found


def _postmaster(server: postgres.Server | None) -> int | None:
    if server is None:
        return None
    return int((server.directory / "data" / "postmaster.pid").read_text(encoding="utf-8").split()[0])


def show(backend: str, sizes: Sequence[int], found: Sequence[dict[str, Figures]], console: Console) -> None:
    """Print the figures side by side, and what the history costs."""
    table = Table(title=f"broker_lite on {backend}, {_CLIENTS} clients", title_justify="left")
    table.add_column("route")
    for size in sizes:
        table.add_column(f"{size:,} results\nper second", justify="right")
        table.add_column("p99\nms", justify="right")
        table.add_column("CPU\nms", justify="right")
    for label in ("p99", "CPU"):
        table.add_column(f"{label} at the last\n: at the first", justify="right")
    table.add_column("CPU at the last\n: the floor's", justify="right")
    floor = next(iter(found[-1].values()))
    for name, first in found[0].items():
        last = found[-1][name]
        row = [
            text
            for one in (figures[name] for figures in found)
            for text in (f"{one.rate:,.0f}", f"{1000 * one.p99:,.1f}", f"{1000 * one.cpu:,.1f}")
        ]
        ratios = [(last.p99, first.p99), (last.cpu, first.cpu), (last.cpu, floor.cpu)]
        table.add_row(name, *row, *(f"{one / max(other, 1e-6):.2f}" for one, other in ratios))
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark.

    Returns:
        The exit code: 0 done, 1 the server did not do as asked.
    """
    parser = argparse.ArgumentParser(prog="broker_speed", description=__doc__)
    sizes = [10, 1_000, 100_000]
    parser.add_argument("--results", type=int, nargs="+", default=sizes, help="sizes (default: 10 1000 100000)")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds per route (default: 3)")
    parser.add_argument("--backend", choices=BACKENDS, action="append", help="one database only (default: both)")
    options = parser.parse_args(arguments)
    if any(size < 1 or size % 10 for size in options.results) or options.seconds <= 0:
        parser.error("--results must be multiples of 10, --seconds more than 0")
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    try:
        for backend in options.backend or BACKENDS:
            found = run(backend, options.results, options.seconds, lambda text: print(text, file=sys.stderr))
            show(backend, options.results, found, console)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
