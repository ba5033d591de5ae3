"""A real broker_lite process on SQLite, for tests that need a Pact Broker and not a picture of one."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WRITER, READER = ("writer", "write-secret"), ("reader", "read-secret")
_START_SECONDS = 60.0


def source_path() -> str:
    """PYTHONPATH with which a subprocess finds every part's package."""
    parts = [*(ROOT / "libs").iterdir(), *(ROOT / "services").iterdir(), *(ROOT / "jobs").iterdir()]
    return os.pathsep.join(str(part / "src") for part in parts if (part / "src").is_dir())


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def running_broker(
    folder: Path, *, with_auth: bool = True, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Start a broker, wait until it answers, stop it.

    Args:
        folder: Takes its database and log.
        with_auth: Ask for the credentials WRITER or READER.
        environment: More variables of its environment.

    Yields:
        Its base URL.
    """
    port = free_port()
    log = folder / "broker.log"
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": source_path(),
        "PORT": str(port),
        "PACT_BROKER_HOST": "127.0.0.1",
        "PACT_BROKER_PORT": str(port),
        "PACT_BROKER_DATABASE_URL": f"sqlite:///{folder / 'broker.sqlite3'}",
        "PACT_BROKER_PUBLIC_HEARTBEAT": "true",
        **(environment or {}),
    }
    if with_auth:
        env["PACT_BROKER_BASIC_AUTH_USERNAME"], env["PACT_BROKER_BASIC_AUTH_PASSWORD"] = WRITER
        (
            env["PACT_BROKER_BASIC_AUTH_READ_ONLY_USERNAME"],
            env["PACT_BROKER_BASIC_AUTH_READ_ONLY_PASSWORD"],
        ) = READER
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "broker_lite"], env=env, cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _await(url, process, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/diagnostic/status/heartbeat", timeout=2):
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"broker_lite did not start:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.05)
