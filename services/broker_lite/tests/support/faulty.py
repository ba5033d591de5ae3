"""The real server in a process of its own that meets a fault at a chosen point of its work with the database.

A point is a statement about to be sent, a commit about to be sent, or a connection given back after its transaction.
The faults live in this launcher alone: the product has no hook for them. Run as a module, it reads one command a line
and forks a fresh server for each, so that a fault at every point costs milliseconds instead of a start of Python.
"""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import httpx
import uvicorn
from sqlalchemy import event

from broker_lite.app import create_app
from broker_lite.config import Settings
from broker_lite.domain.webhook_rules import AllowLists
from broker_lite.store.engine import Store, connect
from services.broker_lite.tests.support.server import Answer, Served

SETTINGS = Settings(
    database_url="",
    allow_lists=AllowLists(hosts=("127.0.0.1",), schemes=("http",)),
    first_attempt_delay=0,
    attempt_spacing=0,
    retry_schedule=(0, 0),
    allow_content_modification=True,
)
"""Deliveries are due at once, and pacts may be overwritten: both are writes like others here."""


class Request(Protocol):
    """What is sent."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def body(self) -> Any: ...


def content_type(request: Request) -> str:
    """The type of a request's body."""
    merges = request.method == "PATCH" and not request.path.startswith("/pacts/")
    return "application/merge-patch+json" if merges else "application/json"


def headers(request: Request) -> dict[str, str]:
    """The headers of a request."""
    return {"accept": "*/*", "content-type": content_type(request)}


@dataclass
class Process:
    """A server that was started to meet a fault."""

    launcher: "Launcher"
    pid: int
    served: Served

    def send(self, request: Request) -> Answer | None:
        """Send a request; None if the server died before it answered."""
        try:
            return self.served.send(request.method, request.path, request.body, headers(request))
        except (ConnectionError, http.client.HTTPException):
            return None

    def runs(self) -> bool:
        """Whether the server has not died yet."""
        return bool(self.launcher.ask({"runs": self.pid})["runs"])

    def end(self) -> int:
        """End the server if it still runs; returns the signal that ended it."""
        return int(self.launcher.ask({"end": self.pid})["signal"])

    def wait(self) -> int:
        """Wait until the server has died of its fault; returns the signal."""
        return int(self.launcher.ask({"wait": self.pid})["signal"])


class Launcher:
    """Starts servers that meet faults."""

    def __init__(self, process: "subprocess.Popen[str]", store: Store) -> None:
        self._process = process
        self._store = store

    def ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """One command, one answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def rehearse(self, request: Request) -> int:
        """Let a request do its work and undo it, so that the servers started next are quick.

        Returns the number of its statements; two more points follow them: the commit, and the connection given back.
        """
        answer = self.ask({"rehearse": [request.method, request.path, request.body, content_type(request)]})
        assert answer["status"] == 406, f"{request} cannot be rehearsed: {answer}"
        return int(answer["statements"])

    def start(self, point: int, *, deliver: bool = False, kill: int | None = None) -> Process:
        """Start a server that is killed when it comes to a point, counted from 1.

        Args:
            point: when; 0 for never.
            deliver: deliver webhooks, and count only the points of deliveries.
            kill: process to end with SIGQUIT in the server's place (Postgres: an immediate shutdown).
        """
        answer = self.ask({"start": point, "deliver": deliver, "kill": kill})
        return Process(self, answer["pid"], Served(answer["port"], self._store, SETTINGS))


@contextlib.contextmanager
def launcher(store: Store) -> Iterator[Launcher]:
    """A launcher of servers on a store's database."""
    url = store.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-m", "services.broker_lite.tests.support.faulty", url]
    root = Path(__file__).parents[4]
    paths = os.pathsep.join([str(root), str(root / "services" / "broker_lite" / "src")])
    environ = {**os.environ, "PYTHONPATH": paths}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environ
    )
    try:
        yield Launcher(process, store)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


class _Forge:
    """Forks servers of one application, which was made, and did everything once, before the forks."""

    def __init__(self, url: str) -> None:
        self.engine = connect(url)
        self.app = create_app(SETTINGS, Store(self.engine))

    def answer(self, command: Mapping[str, Any]) -> dict[str, int]:
        """Do what one command says."""
        if "rehearse" in command:
            return self._rehearse(*command["rehearse"])
        if "start" in command:
            return self._start(command)
        if "runs" in command:
            # Not waited for: whoever asks for its signal next gets it.
            options = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return {"runs": os.waitid(os.P_PID, command["runs"], options) is None}
        pid = command.get("end") or command["wait"]
        if "end" in command:
            os.kill(pid, signal.SIGKILL)
        return {"signal": -os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}

    def _rehearse(self, method: str, path: str, body: Any, kind: str) -> dict[str, int]:
        """Let a request do its work, to be undone: no answer is of a type that this client would take."""
        statements = 0

        def count(*_arguments: object) -> None:
            nonlocal statements
            statements += 1

        async def send() -> int:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://broker") as client:
                headers = {"accept": "image/png", "content-type": kind}
                url = httpx.URL("http://broker").copy_with(raw_path=path.encode())
                answer = await client.request(method, url, content=json.dumps(body), headers=headers)
                return answer.status_code

        event.listen(self.engine, "before_cursor_execute", count)
        status = asyncio.run(send())
        event.remove(self.engine, "before_cursor_execute", count)
        # No connection may be shared with the servers that are forked.
        self.engine.dispose()
        return {"status": status, "statements": statements}

    def _start(self, command: Mapping[str, Any]) -> dict[str, int]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            pid = os.fork()
            if pid == 0:
                self._serve(listener, command)
            return {"pid": pid, "port": listener.getsockname()[1]}

    def _serve(self, listener: socket.socket, command: Mapping[str, Any]) -> None:
        deliver, count, lock = bool(command["deliver"]), 0, threading.Lock()

        def reach(*_arguments: object) -> None:
            nonlocal count
            if deliver and not threading.current_thread().name.startswith("webhook"):
                return
            with lock:
                count += 1
                if count == command["start"]:
                    _fault(command["kill"])

        for name in ("before_cursor_execute", "commit", "checkin"):
            event.listen(self.engine, name, reach)
        lifespan: Literal["on", "off"] = "on" if deliver else "off"
        config = uvicorn.Config(self.app, log_config=None, access_log=False, lifespan=lifespan)
        uvicorn.Server(config).run(sockets=[listener])
        os._exit(0)


def _fault(kill: int | None) -> None:
    if kill is None:
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        os.kill(kill, signal.SIGQUIT)
        while _runs(kill):
            time.sleep(0.01)


def _runs(pid: int) -> bool:
    """Whether a process of somebody else runs; one that has ended may not have been waited for yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in ("Z", "X")


def _main(url: str) -> None:
    forge = _Forge(url)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(forge.answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main(sys.argv[1])
