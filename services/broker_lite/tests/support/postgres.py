"""A PostgreSQL server for tests: Debian's binaries, a temporary directory, a unix socket and no network."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

_MISSING = (
    "PostgreSQL is not installed on this machine: run 'apt-get install postgresql', or leave these tests out with "
    "-m 'not postgres'."
)


def _binary(name: str) -> Path:
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    for directory in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (directory / name).exists():
            return directory / name
    pytest.fail(_MISSING, pytrace=False)


def _user() -> str | None:
    """The user to run the server as; PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            return name
    pytest.fail("PostgreSQL does not run as root, and there is no user postgres or nobody.", pytrace=False)


class Server:
    """A running server."""

    def __init__(self, directory: Path, start: "Callable[[], subprocess.Popen[bytes]]") -> None:
        self.directory = directory
        self._start = start
        self._count = 0
        self.process = start()
        self._wait_until_ready()

    @property
    def pid(self) -> int:
        """The process that answers to signals: SIGQUIT is an immediate shutdown, as a crash."""
        return self.process.pid

    def restart(self) -> None:
        """Start again after a crash; what was committed is recovered."""
        self.process.wait(30)
        self.process = self._start()
        self._wait_until_ready()

    def stop(self) -> None:
        """Fast shutdown: do not wait for clients."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)

    def _url(self, database: str) -> str:
        return f"postgresql://tester@/{database}?host={quote(str(self.directory), safe='')}"

    def new_database(self) -> str:
        """URL of a fresh database."""
        self._count += 1
        name = f"test_{self._count}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._url(name).replace("postgresql://", "postgresql+psycopg://")

    def _wait_until_ready(self) -> None:
        ready, log = _binary("pg_isready"), self.directory / "log"
        for _ in range(600):
            if self.process.poll() is not None:
                pytest.fail(f"PostgreSQL ended while starting: {log.read_text()}", pytrace=False)
            answer = subprocess.run([ready, "-q", "-h", str(self.directory), "-t", "1"], check=False)
            if answer.returncode == 0:
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.1)
        pytest.fail(f"PostgreSQL did not become ready: {log.read_text()}", pytrace=False)


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Run a server until the block ends."""
    initdb, postgres, user = _binary("initdb"), _binary("postgres"), _user()
    with tempfile.TemporaryDirectory(prefix="broker-lite-pg-", ignore_cleanup_errors=True) as temporary:
        directory = Path(temporary)
        if user is not None:
            shutil.chown(directory, user)
        data = directory / "data"
        subprocess.run(
            [initdb, "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
            check=True,
            user=user,
            cwd=directory,
            stdout=subprocess.DEVNULL,
        )
        log = (directory / "log").open("ab")
        command: list[str | Path] = [
            postgres,
            "-D",
            data,
            "-k",
            directory,
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
        ]

        def start() -> "subprocess.Popen[bytes]":
            return subprocess.Popen(command, user=user, cwd=directory, stdout=log, stderr=log)

        running = Server(directory, start)
        try:
            yield running
        finally:
            running.stop()
            log.close()
