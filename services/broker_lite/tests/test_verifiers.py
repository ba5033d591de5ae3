"""Three verifiers against a served instance: pact-python's, the command line's and the one for JavaScript.

All are told the same, and the same must be found in the broker afterwards.
"""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pact import Verifier

from broker_lite.config import Credentials, Settings
from broker_lite.store.engine import Store
from services.broker_lite.tests.support import commands, javascript
from services.broker_lite.tests.support.server import Served, contract, serve

PROVIDER = "P/y 1"
SELECTORS: list[dict[str, Any]] = [{"mainBranch": True}, {"deployedOrReleased": True}]


@pytest.fixture
def served(lite_store: Store, settings: Settings) -> Iterator[Served]:
    guarded = replace(settings, writer=Credentials("rw", "secret"))
    with serve(guarded, lite_store) as running:
        running.headers["authorization"] = "Basic cnc6c2VjcmV0"
        yield running


@pytest.fixture(scope="module")
def provider_port() -> Iterator[int]:
    """A provider that answers 200, whatever it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()


@dataclass(frozen=True)
class Ask:
    """What a verifier is told: the broker, the provider's port and version, and whether pacts may be pending."""

    served: Served
    port: int
    version: str
    pending: bool = True
    wip_since: str | None = None


Run = Callable[[Ask], tuple[bool, str]]
"""Runs a verifier; returns whether the run passed, and what it said."""


def _with_python(ask: Ask) -> tuple[bool, str]:
    verifier = Verifier(PROVIDER, host="localhost").add_transport(url=f"http://localhost:{ask.port}")
    source = verifier.broker_source(ask.served.url, username="rw", password="secret", selector=True)
    source.provider_branch("main")
    if ask.pending:
        source.include_pending()
    if ask.wip_since is not None:
        source.include_wip_since(ask.wip_since)
    source.consumer_version(main_branch=True).consumer_version(deployed_or_released=True)
    source.build()
    verifier.set_publish_options(ask.version, branch="main", tags=["checked"])
    try:
        verifier.verify()
    except RuntimeError as error:
        return False, str(error)
    return True, ""


def _with_command_line(ask: Ask) -> tuple[bool, str]:
    arguments = ["--broker-url", ask.served.url, "--user", "rw", "--password", "secret", "--provider-name", PROVIDER]
    arguments += ["--hostname", "localhost", "--port", str(ask.port), "--publish", "--provider-version", ask.version]
    arguments += ["--provider-branch", "main", "--provider-tags", "checked"]
    arguments += [part for one in SELECTORS for part in ("--consumer-version-selectors", json.dumps(one))]
    if ask.pending:
        arguments.append("--enable-pending")
    if ask.wip_since is not None:
        arguments += ["--include-wip-pacts-since", ask.wip_since]
    done = commands.pact("verifier", *arguments)
    assert done.code in (0, 1), done.text
    return done.code == 0, done.text


@pytest.fixture(scope="module")
def with_javascript() -> Iterator[Run]:
    with javascript.installed() as verifier:

        def run(ask: Ask) -> tuple[bool, str]:
            options = {
                "provider": PROVIDER,
                "providerBaseUrl": f"http://localhost:{ask.port}",
                "pactBrokerUrl": ask.served.url,
                "pactBrokerUsername": "rw",
                "pactBrokerPassword": "secret",
                "consumerVersionSelectors": SELECTORS,
                "providerVersion": ask.version,
                "providerVersionBranch": "main",
                "providerVersionTags": ["checked"],
                "publishVerificationResult": True,
                "enablePending": ask.pending,
                "logLevel": "error",
            }
            if ask.wip_since is not None:
                options["includeWipPactsSince"] = ask.wip_since
            return verifier.run(options)

        yield run


@pytest.fixture(params=["python", "command-line", pytest.param("javascript", marks=pytest.mark.javascript)])
def verify(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("PACT_DO_NOT_TRACK", "true")
    known: dict[str, Run] = {"python": _with_python, "command-line": _with_command_line}
    if request.param in known:
        return known[request.param]
    run: Run = request.getfixturevalue("with_javascript")
    return run


def _publish(served: Served, consumer: str, version: str, branch: str, *, kept: bool = True) -> None:
    """Publish a pact that the provider keeps, or breaks."""
    document = {
        "consumer": {"name": consumer},
        "provider": {"name": PROVIDER},
        "interactions": [
            {
                "description": f"{consumer} {version}",
                "request": {"method": "GET", "path": "/"},
                "response": {"status": 200 if kept else 500},
            }
        ],
        "metadata": {"pactSpecification": {"version": "2.0.0"}},
    }
    content = base64.b64encode(json.dumps(document).encode()).decode()
    one = contract(consumer, PROVIDER) | {"content": content}
    body = {"pacticipantName": consumer, "pacticipantVersionNumber": version, "branch": branch, "contracts": [one]}
    served.ok("POST", "/contracts/publish", body)


def _results(served: Served, version: str) -> dict[str, bool]:
    """Verdicts by consumer name and version of one provider version, as the matrix shows them."""
    query = f"/matrix?q[][pacticipant]=P%2Fy%201&q[][version]={version}&latestby=cvpv"
    rows = served.ok("GET", query)["matrix"]
    return {
        f"{row['consumer']['name']} {row['consumer']['version']['number']}": row["verificationResult"]["success"]
        for row in rows
        if row["verificationResult"] is not None
    }


def test_selected_pending_and_work_in_progress(served: Served, provider_port: int, verify: Run) -> None:
    _publish(served, "C/a", "1+1", "main")
    _publish(served, "D", "1", "feature/of d", kept=False)
    _publish(served, "E", "1", "elsewhere")
    environment = served.ok("POST", "/environments", {"name": "production", "production": True})["uuid"]
    served.ok("POST", f"/pacticipants/E/versions/1/deployed-versions/environment/{environment}", {})

    # Without work in progress only what the selectors name: the main branch, and what is deployed.
    passed, said = verify(Ask(served, provider_port, "p1"))
    assert passed, said
    assert _results(served, "p1") == {"C/a 1+1": True, "E 1": True}
    version = served.ok("GET", "/pacticipants/P%2Fy%201/versions/p1")["_embedded"]
    assert [one["name"] for one in version["branchVersions"]] == ["main"]
    assert [one["name"] for one in version["tags"]] == ["checked"]

    # What is in progress on a branch is verified, too; that it fails breaks nothing, and is known afterwards.
    passed, said = verify(Ask(served, provider_port, "p2", wip_since="2020-01-01"))
    assert passed, said
    assert _results(served, "p2") == {"C/a 1+1": True, "E 1": True, "D 1": False}

    # A content that this provider's branch never kept is pending: it fails, and the run passes.
    _publish(served, "C/a", "2", "main", kept=False)
    passed, said = verify(Ask(served, provider_port, "p3"))
    assert passed, said
    assert _results(served, "p3") == {"C/a 2": False, "E 1": True}

    # Who wants no pending pacts is told the truth by the exit code.
    passed, said = verify(Ask(served, provider_port, "p4", pending=False))
    assert not passed, said
    assert _results(served, "p4") == {"C/a 2": False, "E 1": True}


def test_a_pact_by_its_url(served: Served, provider_port: int) -> None:
    """As a job does that a webhook started: the URL of one pact, and the result comes back to the broker."""
    _publish(served, "C/a", "1", "main")
    pact = served.ok("GET", "/pacts/provider/P%2Fy%201/consumer/C%2Fa/latest")
    url = pact["_links"]["pb:pact-version"]["href"]
    arguments = ["--broker-url", served.url, "--webhook-callback-url", url, "--user", "rw", "--password", "secret"]
    arguments += ["--provider-name", PROVIDER, "--hostname", "localhost", "--port", str(provider_port)]
    arguments += ["--publish", "--provider-version", "p1"]
    done = commands.pact("verifier", *arguments)
    assert done.code == 0, done.text
    assert _results(served, "p1") == {"C/a 1": True}
