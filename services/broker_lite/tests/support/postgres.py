"""A PostgreSQL server for tests: Debian's binaries, a temporary directory, a unix socket and no network."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
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

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._count = 0

    def _url(self, database: str) -> str:
        return f"postgresql://tester@/{database}?host={quote(str(self._directory), safe='')}"

    def new_database(self) -> str:
        """URL of a fresh database."""
        self._count += 1
        name = f"test_{self._count}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._url(name).replace("postgresql://", "postgresql+psycopg://")


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
        log = (directory / "log").open("wb")
        process = subprocess.Popen(
            [postgres, "-D", data, "-k", directory, "-c", "listen_addresses=", "-c", "fsync=off"],
            user=user,
            cwd=directory,
            stdout=log,
            stderr=log,
        )
        try:
            running = Server(directory)
            _wait_until_ready(running, process, directory / "log")
            yield running
        finally:
            # Fast shutdown: do not wait for clients.
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
            log.close()


def _wait_until_ready(running: Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    ready = _binary("pg_isready")
    for _ in range(600):
        if process.poll() is not None:
            pytest.fail(f"PostgreSQL ended while starting: {log.read_text()}", pytrace=False)
        answer = subprocess.run([ready, "-q", "-h", str(running._directory), "-t", "1"], check=False)
        if answer.returncode == 0:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    pytest.fail(f"PostgreSQL did not become ready: {log.read_text()}", pytrace=False)
