"""The clients that people use, against a served instance: the pact command line and pact-python's verifier."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pact import Verifier

from broker_lite.config import Credentials, Settings
from broker_lite.store.engine import Store
from services.broker_lite.tests.support.server import Served, pact, serve

_CLI = shutil.which("pact", path=str(Path(sys.executable).parent)) or shutil.which("pact")


@pytest.fixture
def served(store: Store, settings: Settings) -> Iterator[Served]:
    guarded = replace(settings, writer=Credentials("rw", "secret"))
    with serve(guarded, store) as running:
        running.headers["authorization"] = "Basic cnc6c2VjcmV0"
        yield running


class _Command:
    """``pact broker``, as a pipeline calls it."""

    def __init__(self, served: Served, directory: Path) -> None:
        self.directory = directory
        self.environ = {
            **os.environ,
            "PACT_BROKER_BASE_URL": served.url,
            "PACT_BROKER_USERNAME": "rw",
            "PACT_BROKER_PASSWORD": "secret",
            "PACT_DO_NOT_TRACK": "true",
            "NO_COLOR": "1",
        }

    def __call__(self, *arguments: str, code: int = 0) -> str:
        assert _CLI is not None, "the pact command line is not installed: pip install pact-python-cli"
        done = subprocess.run(
            [_CLI, "broker", *arguments],
            env=self.environ,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture
def cli(served: Served, tmp_path: Path) -> _Command:
    return _Command(served, tmp_path)


def test_the_command_line_through_a_pipeline(served: Served, cli: _Command, tmp_path: Path) -> None:
    (tmp_path / "C-P.json").write_text(json.dumps(pact("C", "P")))
    published = cli("publish", "C-P.json", "--consumer-app-version", "1", "--branch", "feat/x", "--tag", "dev")
    assert "successfully published" in published
    cli("create-environment", "--name", "production", "--production")
    asked = ("can-i-deploy", "--pacticipant", "C", "--version", "1", "--to-environment", "production")
    cli(*asked, code=1)
    served.verify("C", "P", served.sha("C", "1", "P"), "p1")
    cli("record-deployment", "--pacticipant", "P", "--version", "p1", "--environment", "production")
    assert "All required verification results are published and successful" in cli(*asked)
    cli("record-deployment", "--pacticipant", "C", "--version", "1", "--environment", "production")
    cli("can-i-deploy", "--pacticipant", "P", "--version", "p1", "--to-environment", "production")
    cli("record-release", "--pacticipant", "C", "--version", "1", "--environment", "production")
    cli("record-support-ended", "--pacticipant", "C", "--version", "1", "--environment", "production")
    cli("record-undeployment", "--pacticipant", "C", "--environment", "production")
    assert "C" in cli("list-latest-pact-versions")
    assert "1" in cli("describe-version", "--pacticipant", "C")
    cli("create-or-update-webhook", "https://hook", "--uuid", "0123456789abcdef", "-X", "POST", "--contract-published")
    changed = pact("C", "P", "changed")
    (tmp_path / "C-P.json").write_text(json.dumps(changed))
    assert "Cannot change the content" in cli("publish", "C-P.json", "--consumer-app-version", "1", code=1)


@pytest.fixture
def provider() -> Iterator[str]:
    """A provider that keeps every small pact of these tests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_the_verifier_fetches_verifies_and_publishes(
    served: Served, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACT_DO_NOT_TRACK", "true")
    served.publish("C", "1", "P", "first", branch="main")
    served.publish("D", "1", "P", "second", branch="feature/of d")
    verifier = Verifier("P", host="localhost").add_transport(url=provider)
    source = verifier.broker_source(served.url, username="rw", password="secret", selector=True)
    source.provider_branch("main").include_pending().include_wip_since("2020-01-01")
    source.consumer_version(main_branch=True).build()
    verifier.set_publish_options("p1", branch="main", tags=["prod"])
    verifier.verify()
    matrix = served.ok("GET", "/matrix?q[][pacticipant]=P&q[][version]=p1&latestby=cvpv")["matrix"]
    assert sorted((row["consumer"]["name"], row["verificationResult"]["success"]) for row in matrix) == [
        ("C", True),
        ("D", True),
    ]
    version = served.ok("GET", "/pacticipants/P/versions/p1")["_embedded"]
    assert [one["name"] for one in version["branchVersions"]] == ["main"]
    assert [one["name"] for one in version["tags"]] == ["prod"]
    ask = {"providerVersionBranch": "main", "includeWipPactsSince": "2020-01-01"}
    offered = served.ok("POST", "/pacts/provider/P/for-verification", ask)["_embedded"]["pacts"]
    shown = {one["_links"]["self"]["name"]: one["verificationProperties"] for one in offered}
    # C was verified as chosen and is settled; D, verified as work in progress only, is no longer pending.
    assert shown["Pact between C (1) and P"]["pending"] is False


def test_the_module_starts_serves_and_stops(tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1] / "src"),
        "PACT_BROKER_DATABASE_URL": f"sqlite:///{tmp_path}/store.db",
        "PACT_BROKER_HOST": "127.0.0.1",
        "PACT_BROKER_PORT": "1",
    }
    refused = {**environ, "PACT_BROKER_PORT": "none"}
    command = [sys.executable, "-m", "broker_lite"]
    done = subprocess.run(command, env=refused, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.strip()) == (
        78,
        "PACT_BROKER_PORT is 'none'; set it to a whole number from 1 to 65535.",
    )
    away = {**environ, "PACT_BROKER_DATABASE_URL": "sqlite:////nowhere/at/all.db"}
    done = subprocess.run(command, env=away, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 75
    assert "Traceback" not in done.stderr
    port = str(_free_port())
    process = subprocess.Popen(command, env={**environ, "PACT_BROKER_PORT": port}, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(json.loads(line))
        if "running" in line:
            break
    process.terminate()
    rest = process.stderr.read()
    assert process.wait(60) == 0, rest
    assert "Application shutdown complete" in rest
    assert any(line["message"] == "ready" for line in lines)


def test_a_database_that_starts_later_is_waited_for(tmp_path: Path) -> None:
    late = tmp_path / "late"
    environ = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1] / "src"),
        "PACT_BROKER_DATABASE_URL": f"sqlite:///{late}/store.db",
        "PACT_BROKER_DATABASE_CONNECT_MAX_RETRIES": "20",
        "PACT_BROKER_HOST": "127.0.0.1",
        "PACT_BROKER_PORT": str(_free_port()),
    }
    command = [sys.executable, "-m", "broker_lite"]
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(json.loads(line)["message"])
        if "trying again" in line:
            late.mkdir(exist_ok=True)
        if "running" in line:
            break
    process.terminate()
    process.stderr.read()
    assert process.wait(60) == 0
    assert any("trying again" in message for message in seen), seen


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
