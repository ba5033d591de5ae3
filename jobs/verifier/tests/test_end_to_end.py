"""`python -m verifier` as a process, against a real broker and real providers on loopback: every way to end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from brokerclient import BasicAuth, BrokerClient, PactForVerification
from tests.support.broker import READER, WRITER, free_port, running_broker, source_path
from tests.support.front import PREFIX, WRITE_TOKEN, broker_behind_a_front

SCHEMA = json.loads((Path(__file__).parents[1] / "termination.schema.json").read_text())
EXIT_CODES = {"Passed": 0, "ContractBroken": 1, "NothingToVerify": 2, "InfrastructureError": 75}
STATES, MESSAGES = "/_pact/provider_states", "/_pact/messages"
Reply = tuple[int, Any]


class Provider:
    """A provider whose answers a test decides: path -> (status, body), or a function that does anything."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply | Callable[[BaseHTTPRequestHandler, Any], Reply | None]] = {
            "/healthz": (200, {"status": "ok"}),
            "/users/1": (200, {"id": 1, "name": "Ada"}),
        }
        self.asked: list[tuple[str, Any]] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = json.loads(body) if body else None
                provider.asked.append((self.path, asked))
                reply = provider.replies.get(self.path, (404, {"error": f"no {self.path} here"}))
                answer = reply(self, asked) if callable(reply) else reply
                if answer is None:
                    return
                content = json.dumps(answer[1]).encode()
                self.send_response(answer[0])
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = handle_any  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def die(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@dataclass(frozen=True)
class Run:
    code: int
    message: dict[str, Any]
    stdout: str
    stderr: str

    @property
    def pact(self) -> dict[str, Any]:
        (entry,) = self.message["pacts"]
        return dict(entry)


class Bench:
    """One provider pacticipant of its own in a shared broker, and the means to publish and verify."""

    def __init__(self, url: str, name: str, folder: Path) -> None:
        self.url, self.name, self.folder = url, name, folder
        self.client = BrokerClient(url, auth=BasicAuth(*WRITER))
        self.provider = Provider()

    def publish(
        self, *interactions: Mapping[str, Any], consumer: str = "shop", metadata: Mapping[str, Any] | None = None
    ) -> PactForVerification:
        consumer = f"{consumer} of {self.name}"
        document = {
            "consumer": {"name": consumer},
            "provider": {"name": self.name},
            "interactions": list(interactions),
            "metadata": {"pactSpecification": {"version": "4.0"}} | dict(metadata or {}),
        }
        self.client.publish_contracts(consumer, "1", [document], branch="main")
        found = self.client.pacts_for_verification(self.name, selectors=[{"mainBranch": True}], include_pending=True)
        return next(one for one in found if one.consumer == consumer)

    def env(self, *pacts: PactForVerification, **change: str) -> dict[str, str]:
        owed = [{"consumer": p.consumer, "contentSha": p.content_sha, "url": p.url, "pending": False} for p in pacts]
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": source_path(),
            "PACT_BROKER_BASE_URL": self.url,
            "PACT_BROKER_USERNAME": WRITER[0],
            "PACT_BROKER_PASSWORD": WRITER[1],
            "PV_PROVIDER": self.name,
            "PV_PROVIDER_VERSION": "1.0",
            "PV_PROVIDER_BRANCH": "feat/x",
            "PV_PROVIDER_URL": f"http://localhost:{self.provider.port}",
            "PV_READINESS_PATH": "/healthz",
            "PV_READY_TIMEOUT_SECONDS": "20",
            "PV_STATES_PATH": STATES,
            "PV_PACTS": json.dumps(owed),
            "PV_PUBLISH": "true",
            "PV_TERMINATION_PATH": str(self.folder / "termination"),
        } | change

    def verify(self, *pacts: PactForVerification, **change: str) -> Run:
        done = subprocess.run(
            [sys.executable, "-m", "verifier"],
            env=self.env(*pacts, **change),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return self.checked(done.returncode, done.stdout, done.stderr)

    def start(self, *pacts: PactForVerification, **change: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "verifier"],
            env=self.env(*pacts, **change),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def checked(self, code: int, stdout: str, stderr: str) -> Run:
        content = (self.folder / "termination").read_bytes()
        assert len(content) < 4096
        message = json.loads(content)
        jsonschema.validate(message, SCHEMA)
        assert EXIT_CODES[message["outcome"]] == code
        everything = stdout + stderr + content.decode()
        assert not any(secret in everything for secret in (WRITER[1], READER[1]))
        assert "Traceback" not in everything
        assert message["message"] in stdout, "the verdict is the log's first line"
        return Run(code, message, stdout, stderr)

    def results(self) -> dict[str, bool]:
        found = self.client.verification_results(self.name, "1.0")
        return {one.consumer.split(" of ")[0]: one.success for one in found}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_broker(tmp_path_factory.mktemp("broker")) as url:
        yield url


@pytest.fixture
def bench(broker: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    it = Bench(broker, request.node.name.removeprefix("test_")[:60], tmp_path)
    yield it
    it.provider.die()
    it.client.close()


def get(path: str = "/users/1", *, state: str | None = None, status: int = 200, body: Any = None) -> dict[str, Any]:
    response: dict[str, Any] = {"status": status}
    if body is not None:
        response["body"] = {"content": body, "contentType": "application/json", "encoded": False}
    return {
        "type": "Synchronous/HTTP",
        "description": f"a request for {path}",
        "request": {"method": "GET", "path": path},
        "response": response,
    } | ({"providerStates": [{"name": state, "params": {"id": 1}}]} if state else {})


def message_interaction(event: str = "created") -> dict[str, Any]:
    return {
        "type": "Asynchronous/Messages",
        "description": "user created",
        "contents": {"content": {"event": event}, "contentType": "application/json", "encoded": False},
    }


# -- exit code 0


def test_kept_contract_is_recorded_under_the_provider_version_and_its_branch(bench: Bench) -> None:
    bench.provider.replies[STATES] = (200, {})
    pact = bench.publish(get(state="a user exists", body={"id": 1}), get("/healthz"))
    run = bench.verify(pact)
    assert run.code == 0, run.stdout + run.stderr
    assert run.message["published"] is True
    assert run.pact == {
        "consumer": pact.consumer,
        "contentSha": pact.content_sha,
        "outcome": "Passed",
        "interactions": 2,
        "failed": 0,
    }
    assert bench.results() == {"shop": True}
    version = bench.client.version(bench.name, "1.0")
    assert version is not None
    assert [branch.name for branch in version.branches] == ["feat/x"]
    detail = bench.client.verification_result(bench.client.verification_results(bench.name, "1.0")[0].url)
    assert [result["success"] for result in detail.test_results] == [True, True]
    states = [asked for path, asked in bench.provider.asked if path == STATES]
    assert {"action": "setup", "params": {"id": 1}, "state": "a user exists"} in states
    assert states[-1]["action"] == "teardown"


def test_messages_are_verified_like_requests(bench: Bench) -> None:
    bench.provider.replies[MESSAGES] = (200, {"event": "created"})
    run = bench.verify(bench.publish(message_interaction(), get()), PV_MESSAGE_PATH=MESSAGES)
    assert (run.code, run.pact["interactions"]) == (0, 2)
    assert bench.results() == {"shop": True}


def test_pending_pact_that_fails_breaks_nothing_and_is_recorded(bench: Bench) -> None:
    run = bench.verify(
        bench.publish(get(status=201)),
        PV_PACTS="",
        PV_SELECTORS='[{"mainBranch": true}]',
        PV_INCLUDE_PENDING="true",
    )
    assert (run.code, run.pact["outcome"], run.message["published"]) == (0, "PendingFailed", True)
    assert "status is 200 (expected 201)" in run.message["message"]
    assert bench.results() == {"shop": False}


def test_without_publishing_nothing_is_recorded(bench: Bench) -> None:
    run = bench.verify(bench.publish(get()), PV_PUBLISH="false")
    assert (run.code, run.message["published"]) == (0, False)
    assert bench.results() == {}
    assert bench.client.version(bench.name, "1.0") is None


def test_broker_behind_a_prefix_a_private_authority_and_a_token(tmp_path: Path) -> None:
    with broker_behind_a_front(tmp_path) as front:
        bench = Bench(front.direct, "fronted", tmp_path)
        pact = bench.publish(get())
        bench.url = front.url
        change = {"PACT_BROKER_USERNAME": "", "PACT_BROKER_PASSWORD": "", "PV_CA_FILE": str(front.authority)}
        run = bench.verify(
            replace(pact, url=pact.url.replace(front.direct, front.url.removesuffix(PREFIX))),
            PACT_BROKER_TOKEN=WRITE_TOKEN,
            **change,
        )
        assert (run.code, run.message["published"]) == (0, True), run.stdout + run.stderr
        assert bench.results() == {"shop": True}
        assert WRITE_TOKEN not in run.stdout + run.stderr
        refused = bench.verify(pact, PACT_BROKER_TOKEN="another", **change)
        assert (refused.code, refused.message["reason"]) == (75, "BrokerUnauthorized")
        bench.provider.die()
        bench.client.close()


# -- exit code 1


def test_broken_contract_names_interaction_field_and_expectation(bench: Bench) -> None:
    broken = bench.publish(get(body={"id": 1, "email": "ada@example.com"}))
    kept = bench.publish(get(), consumer="till")
    run = bench.verify(broken, kept)
    assert run.code == 1
    assert [pact["outcome"] for pact in run.message["pacts"]] == ["Failed", "Passed"]
    mismatch = run.message["pacts"][0]["mismatch"]
    assert mismatch == 'a request for /users/1: body $.email is missing (expected "ada@example.com")'
    assert mismatch in run.message["message"]
    lines = run.stdout.splitlines()
    assert lines[2].startswith("CONSUMER"), "the table comes first"
    assert '         expected: "ada@example.com"' in lines
    assert bench.results() == {"shop": False, "till": True}


def test_state_that_cannot_be_set_up_is_told_in_the_providers_words_and_soon(bench: Bench) -> None:
    bench.provider.replies[STATES] = (500, {"error": "This provider does not know the state 'x'."})
    run = bench.verify(bench.publish(get(state="x"), get("/healthz")))
    assert run.code == 1
    assert run.pact["failed"] == 1, "an interaction without a state does not depend on the endpoint's opinion of none"
    assert run.pact["mismatch"] == (
        'a request for /users/1: provider state "x" could not be set up:'
        " the provider answered 500: This provider does not know the state 'x'."
    )
    asked = [state for path, state in bench.provider.asked if path == STATES and state["state"] == "x"]
    assert len([state for state in asked if state["action"] == "setup"]) == 2, (
        "once to look, once to verify: no repeats"
    )


def test_error_page_is_not_taken_for_the_message(bench: Bench) -> None:
    bench.provider.replies[MESSAGES] = (400, {"error": "unknown message"})
    run = bench.verify(bench.publish(message_interaction()), PV_MESSAGE_PATH=MESSAGES)
    assert run.code == 1
    assert run.pact["mismatch"].endswith("could not make the message: the provider answered 400: unknown message")


def test_request_that_is_never_answered_is_broken_if_the_provider_is_well(bench: Bench) -> None:
    def hang_up(handler: BaseHTTPRequestHandler, _: Any) -> None:
        handler.close_connection = True

    bench.provider.replies["/users/2"] = hang_up
    run = bench.verify(bench.publish(get("/users/2"), get()))
    assert (run.code, run.pact["failed"]) == (1, 1)
    assert "the provider gave no answer" in run.pact["mismatch"]
    assert len([path for path, _ in bench.provider.asked if path == "/users/2"]) >= 2, "once may be chance"
    assert bench.results() == {"shop": False}


def test_a_junit_report_is_left_where_it_was_asked_for(bench: Bench) -> None:
    from xml.etree import ElementTree as ET

    bench.provider.replies["/users/2"] = (200, {"id": 2})
    pact = bench.publish(get(body={"id": 1, "email": "x"}), get("/users/2"))
    file = bench.folder / "reports" / "run.xml"
    run = bench.verify(pact, PV_JUNIT_FILE=str(file))
    assert run.code == 1, "a report that cannot be written changes no verdict"
    assert f"warning: the JUnit report cannot be written to {file}: No such file or directory" in run.stderr
    file.parent.mkdir()
    run = bench.verify(pact, PV_JUNIT_FILE=str(file))
    assert (run.code, [one.name for one in file.parent.iterdir()]) == (1, ["run.xml"])
    root = ET.parse(file).getroot()
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    assert [case.get("name") for case in root.iter("testcase")] == ["a request for /users/1", "a request for /users/2"]
    assert "$.email is missing" in str(next(root.iter("failure")).get("message"))


# -- exit code 2


def test_no_pacts_are_nothing_to_verify_and_need_no_provider(bench: Bench) -> None:
    bench.provider.die()
    for change in ({"PV_PACTS": "[]"}, {"PV_PACTS": "", "PV_SELECTORS": '[{"mainBranch": true}]'}):
        run = bench.verify(**change)
        assert (run.code, run.message["reason"], run.message["pacts"]) == (2, "NothingToVerify", [])


def test_pact_without_interactions_proves_nothing_and_is_no_longer_owed(bench: Bench) -> None:
    run = bench.verify(bench.publish())
    assert (run.code, run.pact["interactions"]) == (2, 0)
    assert bench.results() == {"shop": True}


# -- exit code 75


def test_provider_that_never_starts_is_not_a_broken_contract(bench: Bench) -> None:
    pact = bench.publish(get())
    bench.provider.die()
    run = bench.verify(pact, PV_READY_TIMEOUT_SECONDS="0.4")
    assert (run.code, run.message["reason"], run.pact["outcome"]) == (75, "ProviderNotReady", "Error")
    assert run.message["message"].endswith("was not ready within 0.4 s: GET /healthz: connection refused.")
    assert bench.results() == {}


def test_provider_that_is_unwell_says_so_itself(bench: Bench) -> None:
    bench.provider.replies["/healthz"] = (503, {"error": "no database"})
    run = bench.verify(bench.publish(get()), PV_READY_TIMEOUT_SECONDS="0.4")
    assert (run.code, run.message["reason"]) == (75, "ProviderNotReady")
    assert run.message["message"].endswith("the provider answered 503: no database.")


def test_provider_that_starts_late_is_waited_for(bench: Bench) -> None:
    def not_at_first(_: BaseHTTPRequestHandler, __: Any) -> Reply:
        return (200, {}) if len(bench.provider.asked) > 20 else (503, {})

    bench.provider.replies["/healthz"] = not_at_first
    assert bench.verify(bench.publish(get())).code == 0


def test_provider_that_dies_on_the_way_leaves_no_verdict(bench: Bench) -> None:
    def die(handler: BaseHTTPRequestHandler, _: Any) -> None:
        handler.close_connection = True
        bench.provider.server.socket.close()

    bench.provider.replies["/users/2"] = die
    first = bench.publish(get(), consumer="a")
    second = bench.publish(get("/users/2"), consumer="b")
    third = bench.publish(get(), consumer="c")
    run = bench.verify(first, second, third, PV_REQUEST_TIMEOUT_SECONDS="1")
    assert (run.code, run.message["reason"]) == (75, "ProviderNotReady")
    assert "stopped answering at 'a request for /users/2'" in run.message["message"]
    assert [pact["outcome"] for pact in run.message["pacts"]] == ["Passed", "Error", "Error"]
    assert bench.results() == {"a": True}, "what was verified is recorded, what was not is not"


@pytest.mark.parametrize(
    ("interaction", "path", "says"),
    [
        (get(state="a user exists"), STATES, "start it with its provider-state endpoint enabled"),
        (message_interaction(), MESSAGES, "start it with its message endpoint enabled"),
    ],
    ids=["states", "messages"],
)
def test_provider_without_its_endpoints(bench: Bench, interaction: dict[str, Any], path: str, says: str) -> None:
    run = bench.verify(bench.publish(interaction), PV_MESSAGE_PATH=MESSAGES)
    assert (run.code, run.message["reason"]) == (75, "ProviderStatesUnavailable")
    assert run.message["message"] == f"The provider answers 404 at {path}: {says}."
    assert bench.results() == {}


def test_broker_that_does_not_let_us_in(bench: Bench) -> None:
    run = bench.verify(bench.publish(get()), PACT_BROKER_PASSWORD="hidden-secret")
    assert (run.code, run.message["reason"]) == (75, "BrokerUnauthorized")
    assert "hidden-secret" not in run.stdout + run.stderr


def test_broker_that_is_not_there(bench: Bench) -> None:
    run = bench.verify(bench.publish(get()), PACT_BROKER_BASE_URL=f"http://127.0.0.1:{free_port()}")
    assert (run.code, run.message["reason"], run.pact["outcome"]) == (75, "BrokerUnavailable", "Error")
    assert "cannot be reached: connection refused." in run.message["message"]


def test_credentials_that_may_only_read_leave_the_result_unrecorded(bench: Bench) -> None:
    run = bench.verify(bench.publish(get()), PACT_BROKER_USERNAME=READER[0], PACT_BROKER_PASSWORD=READER[1])
    assert (run.code, run.message["reason"], run.message["published"]) == (75, "ResultNotPublished", False)
    assert "they are wrong, or may only read" in run.message["message"]
    assert bench.results() == {}


@pytest.mark.parametrize(
    ("path", "says", "reason"),
    [
        ("pact-version/0000000000000000000000000000000000000000", "not to be had", "PactNotFound"),
        ("/", "is no pact", "PactInvalid"),
        ("/nowhere", "", "PactNotFound"),
    ],
)
def test_pact_that_is_not_there_leaves_the_others_alone(bench: Bench, path: str, says: str, reason: str) -> None:
    pact = bench.publish(get())
    url = bench.url + path if path.startswith("/") else f"{pact.url.split('pact-version')[0]}{path}"
    missing = PactForVerification(pact.consumer, "0" * 40, url)
    run = bench.verify(missing, pact)
    assert (run.code, run.message["reason"]) == (75, reason)
    assert says in run.message["message"]
    assert [entry["outcome"] for entry in run.message["pacts"]] == ["Error", "Passed"]
    assert bench.results() == {"shop": True}


def test_pact_that_the_core_cannot_read(bench: Bench) -> None:
    run = bench.verify(bench.publish({"description": "no type"}))
    assert (run.code, run.message["reason"]) == (75, "PactInvalid")
    assert "cannot be read: Interaction 0 has no type attribute" in run.message["message"]


def test_hostile_pacts_in_a_batch_spoil_none_of_the_others(bench: Bench) -> None:
    """Pacts that are huge, deep, absurd, lead elsewhere or write into the log, each beside honest ones."""
    elsewhere = Provider()
    deep: Any = "x"
    for _ in range(60):
        deep = [deep]
    large = "y" * 20_000_000
    bench.provider.replies["/large"] = (200, {"x": large})
    evil = "\x1b[2J\u202erm -rf\x00\n" + "z" * 5000
    with_links = {"_links": {"pb:publish-verification-results": {"href": f"http://127.0.0.1:{elsewhere.port}/steal"}}}
    first = bench.publish(get(), consumer="honest-a")
    batch = [
        bench.publish(get("/large", body={"x": large}), consumer="large"),
        bench.publish(*[{**get(), "description": f"request {n}"} for n in range(300)], consumer="many"),
        bench.publish(get(body=deep), consumer="deep"),
        bench.publish({**get("/evil"), "description": evil}, consumer="evil"),
        bench.publish({"description": "no type"}, consumer="unreadable"),
        bench.publish(
            {**get(), "request": {"method": "GET", "path": f"http://127.0.0.1:{elsewhere.port}/x"}}, consumer="ssrf"
        ),
        bench.publish({**get(), **with_links}, consumer="links"),
        bench.publish(get(state="$(id)" + evil), consumer="state"),
        bench.publish(
            {
                **get(body={"a": "aaaaaaaaaaaaaaaaaaaaaaaaaaaa!"}),
                "response": {
                    "status": 200,
                    "body": {"content": {"name": "x"}, "contentType": "application/json", "encoded": False},
                    "matchingRules": {"body": {"$.name": {"matchers": [{"match": "regex", "regex": "(a+)+$("}]}}},
                },
            },
            consumer="regex",
        ),
    ]
    bench.provider.replies[STATES] = (200, {})
    last = bench.publish(get(), consumer="honest-z")
    process = bench.start(first, *batch, last, PV_REQUEST_TIMEOUT_SECONDS="60")
    stdout, stderr = process.communicate(timeout=280)
    run = bench.checked(process.returncode, stdout, stderr)
    assert run.code in (1, 75), run.stdout[:2000]
    results = bench.results()
    assert results["honest-a"] is True
    assert results["honest-z"] is True, "what stands behind them has its result, too"
    assert (results["large"], results["many"]) == (True, True)
    assert (results["evil"], results["deep"]) == (False, False)
    assert "unreadable" not in results
    assert results.get("ssrf") is not True
    assert elsewhere.asked == [], "nothing is sent to a host that a pact names"
    assert "\x1b" not in stdout + stderr
    assert "\u202e" not in stdout + stderr
    elsewhere.die()


def test_wrong_settings(bench: Bench) -> None:
    pact = bench.publish(message_interaction())
    for change, says in (
        ({"PV_PROVIDER": ""}, "PV_PROVIDER is not set"),
        ({"PV_PROVIDER": "another"}, "give the URL of the right one"),
        ({}, "set PV_MESSAGE_PATH"),
        ({"PV_PACTS": "", "PV_SELECTORS": '[{"consumer": "x"}]'}, "does not accept"),
    ):
        run = bench.verify(pact, **change)
        assert (run.code, run.message["reason"]) == (75, "InvalidConfiguration")
        assert says in run.message["message"]


def test_pact_that_needs_a_plugin(bench: Bench) -> None:
    pact = bench.publish(get(), metadata={"plugins": [{"name": "protobuf", "version": "0.3"}]})
    run = bench.verify(pact)
    assert (run.code, run.message["reason"]) == (75, "InvalidConfiguration")
    assert "needs the Pact plugin protobuf" in run.message["message"]


def test_result_that_the_broker_loses_is_published_once_more_and_then_missed(bench: Bench) -> None:
    # A broker that takes every result and lists none; no real one does that twice in a row.
    link = "/pacts/provider/p/consumer/c/pact-version/4f2a"
    bench.name = "p"
    bench.url = f"http://127.0.0.1:{bench.provider.port}"
    bench.provider.replies |= {
        link: (
            200,
            {
                "consumer": {"name": "c"},
                "provider": {"name": "p"},
                "interactions": [get()],
                "metadata": {"pactSpecification": {"version": "4.0"}},
                "_links": {"pb:publish-verification-results": {"href": f"http://elsewhere{link}/verification-results"}},
            },
        ),
        f"{link}/verification-results": (201, {"success": True, "providerApplicationVersion": "1.0"}),
    }
    matrix = (200, {"summary": {"deployable": None, "reason": ""}, "matrix": []})
    query = "?q%5B%5D%5Bpacticipant%5D=p&q%5B%5D%5Bversion%5D=1.0&latestby=cvpv"
    bench.provider.replies[f"/matrix{query}&success%5B%5D=true&success%5B%5D=false&limit=1000"] = matrix
    run = bench.verify(PactForVerification("c", "4f2a", link), PV_PROVIDER_BRANCH="")
    assert (run.code, run.message["reason"], run.message["published"]) == (75, "ResultNotPublished", False)
    assert run.message["message"].endswith("with c: it took the result and does not list it.")
    assert [path for path, _ in bench.provider.asked].count(f"{link}/verification-results") == 2


def test_api_below_a_path(bench: Bench) -> None:
    bench.provider.replies["/api/v1/users/1"] = (200, {"id": 7})
    run = bench.verify(
        bench.publish(get(body={"id": 7})), PV_PROVIDER_URL=f"http://127.0.0.1:{bench.provider.port}/api/v1/"
    )
    assert run.code == 0


def test_being_stopped_inside_the_core_is_told_at_once(bench: Bench) -> None:
    asked, release = threading.Event(), threading.Event()

    def hang(_: BaseHTTPRequestHandler, __: Any) -> None:
        asked.set()
        release.wait(60)

    bench.provider.replies["/users/1"] = hang
    process = bench.start(bench.publish(get()), PV_REQUEST_TIMEOUT_SECONDS="60")
    assert asked.wait(60)
    process.send_signal(signal.SIGTERM)
    run = bench.checked(process.wait(10), *process.communicate())
    release.set()
    assert (run.code, run.message["reason"]) == (75, "ResultNotPublished")
    assert "was stopped from outside while verifying the pact of shop" in run.message["message"]


def test_being_stopped_is_told_at_once(bench: Bench) -> None:
    def never(_: BaseHTTPRequestHandler, __: Any) -> Reply:
        return (503, {"error": "starting"})

    pact = bench.publish(get())
    bench.provider.replies["/healthz"] = never
    process = bench.start(pact)
    deadline = time.monotonic() + 30
    while not bench.provider.asked and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=10)
    run = bench.checked(process.returncode, stdout, stderr)
    assert (run.code, run.message["reason"]) == (75, "ProviderNotReady")
    assert "was stopped from outside while waiting for the provider" in run.message["message"]
