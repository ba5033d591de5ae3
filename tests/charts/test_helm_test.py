"""The programs of `helm test`: they pass where all is well, and fail where it is not."""

import base64
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.charts.charts import Helm, of_kind

READER = "Basic " + base64.b64encode(b"readonly:word").decode()

# (method, path, Authorization) -> status. Everything else is answered with 404.
Answers = Mapping[tuple[str, str, str], int]


@contextmanager
def _serving(answers: Answers) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(answers.get((self.command, self.path, self.headers.get("Authorization", "")), 404))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = answer  # noqa: N815  (http.server names them)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name there)
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _run(helm: Helm, chart: str, settings: list[str], url: str) -> subprocess.CompletedProcess[str]:
    (pod,) = of_kind(helm.manifests(chart, settings=settings), "Pod")
    (container,) = pod["spec"]["containers"]
    program, *arguments = container["command"]
    assert program == "python"
    environment = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    assert environment["URL"].startswith("http://")
    environment |= {"URL": url, "PATH": os.environ["PATH"]}
    if "USERNAME" in environment:
        environment |= {"USERNAME": "readonly", "PASSWORD": "word"}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


HEARTBEAT = ("GET", "/diagnostic/status/heartbeat", "")
STATES = ("POST", "/_pact/provider_states", "")
OPERATOR: Answers = {
    ("GET", "/readyz", ""): 200,
    ("GET", "/metrics", ""): 200,
    ("POST", "/hooks/nobody/nothing", ""): 401,
}
BROKER: Answers = {HEARTBEAT: 200, ("GET", "/", READER): 200, ("GET", "/", ""): 401}
PROVIDER: Answers = {("GET", "/healthz", ""): 200}

CASES: list[tuple[str, list[str], Answers, int]] = [
    ("pact-operator", [], OPERATOR, 0),
    ("pact-operator", [], {**OPERATOR, ("GET", "/readyz", ""): 503}, 1),
    # A receiver that takes a webhook from anyone.
    ("pact-operator", [], {**OPERATOR, ("POST", "/hooks/nobody/nothing", ""): 202}, 1),
    ("pact-broker", ["flavour=lite"], BROKER, 0),
    ("pact-broker", ["flavour=lite"], {**BROKER, HEARTBEAT: 401}, 1),
    ("pact-broker", ["flavour=lite"], {**BROKER, ("GET", "/", READER): 401}, 1),
    # A broker that lets anyone read, asked for or not.
    ("pact-broker", ["flavour=lite"], {**BROKER, ("GET", "/", ""): 200}, 1),
    ("pact-broker", ["flavour=lite", "auth.allowPublicRead=true"], {**BROKER, ("GET", "/", ""): 200}, 0),
    ("provider", [], PROVIDER, 0),
    ("provider", [], {}, 1),
    # A deployed provider that lets anyone set its state.
    ("provider", [], {**PROVIDER, STATES: 200}, 1),
    ("provider", ["pactProvider.providerStatesPath="], {**PROVIDER, STATES: 200}, 0),
    ("consumer", [], {HEARTBEAT: 200}, 0),
    ("consumer", [], {HEARTBEAT: 401}, 0),
    ("consumer", [], {HEARTBEAT: 500}, 1),
]


@pytest.mark.parametrize(("chart", "settings", "answers", "code"), CASES)
def test_the_program_of_helm_test(helm: Helm, chart: str, settings: list[str], answers: Answers, code: int) -> None:
    with _serving(answers) as url:
        done = _run(helm, chart, settings, url)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr == ""
    assert "expected" in done.stdout


def test_nobody_there_is_a_sentence(helm: Helm) -> None:
    with _serving({}) as url:
        pass
    done = _run(helm, "consumer", [], url)
    assert done.returncode == 1
    assert "Connection refused" in done.stdout
    assert done.stderr == ""
