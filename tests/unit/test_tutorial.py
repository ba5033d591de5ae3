"""The tutorial's programs do what it says: a pact is written, the provider keeps it, and a renamed field breaks it."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from waitress.server import create_server

ROOT = Path(__file__).resolve().parents[2]
FILES = re.compile(r"^```python\n# (tutorial/\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def programs() -> dict[str, str]:
    found: dict[str, str] = dict(FILES.findall((ROOT / "docs/tutorial.md").read_text(encoding="utf-8")))
    assert set(found) == {"tutorial/catalog/catalog.py", "tutorial/web/test_products.py"}
    return found


@pytest.fixture(scope="module")
def pact_file(programs: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the consumer's tests write when they run as in the image."""
    folder = tmp_path_factory.mktemp("web")
    source = programs["tutorial/web/test_products.py"].replace('"/pacts"', repr(str(folder)))
    (folder / "test_products.py").write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)],
        cwd=folder,
        env={**os.environ, "PACT_DO_NOT_TRACK": "true"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [written] = folder.glob("*.json")
    return written


@contextmanager
def serving(source: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv("PACT_PROVIDER_STATES", "enabled")
    scope: dict[str, Any] = {"__name__": "catalog"}
    exec(compile(source, "catalog.py", "exec"), scope)
    listener = socket.create_server(("127.0.0.1", 0))
    server = create_server(scope["app"], sockets=[listener])
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.close()
        thread.join(10)


def failures(pact_file: Path, port: int) -> list[str]:
    """The mismatches of a verification in a process of its own: the core keeps state, and writes to its output."""
    script = """
import json, sys
from pact import Verifier
file, port = sys.argv[1:]
verifier = Verifier("catalog", host="127.0.0.1").add_transport(protocol="http", port=int(port))
verifier.state_handler(f"http://127.0.0.1:{port}/_pact/provider_states", body=True, teardown=True)
verifier.add_source(file)
try:
    verifier.verify()
except RuntimeError:
    pass
sys.stderr.write(json.dumps([str(error) for error in verifier.results["errors"]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(pact_file), str(port)],
        env={**os.environ, "PACT_DO_NOT_TRACK": "true"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stderr.splitlines()[-1])
    return found


def test_the_provider_keeps_the_contract(
    programs: dict[str, str], pact_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(programs["tutorial/catalog/catalog.py"], monkeypatch) as port:
        assert failures(pact_file, port) == []


def test_a_renamed_field_breaks_it(programs: dict[str, str], pact_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed = programs["tutorial/catalog/catalog.py"].replace('"price"', '"cost"')
    with serving(renamed, monkeypatch) as port:
        [failure] = failures(pact_file, port)
    assert "price" in failure


def test_the_states_are_served_only_where_they_are_switched_on(
    programs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PACT_PROVIDER_STATES", raising=False)
    scope: dict[str, Any] = {"__name__": "catalog"}
    exec(compile(programs["tutorial/catalog/catalog.py"], "catalog.py", "exec"), scope)
    client = scope["app"].test_client()
    assert client.post("/_pact/provider_states", json={"state": "", "action": "setup"}).status_code == 404
    assert client.get("/products/1").status_code == 404
