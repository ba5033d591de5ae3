"""The gate Job: what it asks, how it waits, how it ends, what it shows."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import pytest
import requests
import responses
from hypothesis import given
from hypothesis import strategies as st

from gate.__main__ import main
from gate.answer import EXIT_CODES, Answer, Contract, Outcome, clean, read
from gate.ask import ask, wait
from gate.screen import SHOWN, termination, verdict
from gate.settings import Question, Settings, SettingsError, parse_settings

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads((ROOT / "termination.schema.json").read_text(encoding="utf-8"))
ENV = {
    "GATE_URL": "http://gate.test:8080/",
    "GATE_NAMESPACE": "shop",
    "GATE_BROKER": "pact-broker",
    "GATE_PACTICIPANT": "flask provider",
    "GATE_VERSION": "2.0.0+x",
    "GATE_TOKEN": "hidden-secret",
    "GATE_POLL_SECONDS": "0.01",
}
URL = "http://gate.test:8080/v1/gate/shop/pact-broker"
BROKEN: dict[str, Any] = {
    "allowed": False,
    "verdict": "Broken",
    "reason": "ContractBroken",
    "shadow": False,
    "message": "users-consumer 1.2.0 in production: a request for user 123: body $.email is missing",
    "nextStep": "Read the mismatch: serve what the consumer expects.",
    "retry": False,
    "pacticipant": "flask provider",
    "version": "2.0.0+x",
    "environment": "production",
    "contracts": [
        {
            "consumer": "users-consumer",
            "consumerVersion": "1.2.0",
            "provider": "flask provider",
            "providerVersion": "2.0.0+x",
            "state": "Failed",
            "ignored": False,
            "message": "a request for user 123: body $.email is missing",
        },
        {
            "consumer": "old-consumer",
            "consumerVersion": "1",
            "provider": "flask provider",
            "providerVersion": "2.0.0+x",
            "state": "Verified",
            "ignored": False,
            "message": "",
        },
    ],
}
ALLOWED = BROKEN | {"allowed": True, "verdict": "Allowed", "message": "Every contract holds.", "nextStep": ""}
PENDING = BROKEN | {"verdict": "Pending", "message": "1 of 2 results is missing.", "retry": True}


def settings(**changes: str) -> Settings:
    return parse_settings(ENV | changes)


def answer_of(status: int, body: Any) -> Answer:
    with responses.RequestsMock() as gate:
        gate.get(
            URL, status=status, **({"body": body} if isinstance(body, str | bytes | Exception) else {"json": body})
        )
        return ask(settings(), requests.Session())


# --- asking ----------------------------------------------------------------------------------------------------------


def test_it_asks_as_the_contract_says() -> None:
    with responses.RequestsMock() as gate:
        gate.get(URL, json=ALLOWED)
        ask(settings(GATE_VERIFY="true", GATE_ENVIRONMENT="pro duction"), requests.Session())
        request = gate.calls[0].request
    assert parse_qs(urlsplit(request.url or "").query) == {
        "pacticipant": ["flask provider"],
        "version": ["2.0.0+x"],
        "environment": ["pro duction"],
        "verify": ["true"],
    }
    assert request.headers["Authorization"] == "Bearer hidden-secret"


def test_without_environment_and_verify_neither_is_sent() -> None:
    with responses.RequestsMock() as gate:
        gate.get(URL, json=ALLOWED)
        ask(settings(), requests.Session())
        assert set(parse_qs(urlsplit(gate.calls[0].request.url or "").query)) == {"pacticipant", "version"}


def test_the_token_is_read_at_every_question_and_a_netrc_does_not_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine gate.test login somebody password else", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    file = tmp_path / "token"
    file.write_text("first\n", encoding="utf-8")
    given_ = settings(GATE_TOKEN="", GATE_TOKEN_FILE=str(file))
    with responses.RequestsMock() as gate:
        gate.get(URL, json=ALLOWED)
        ask(given_, requests.Session())
        file.write_text("rotated", encoding="utf-8")
        ask(given_, requests.Session())
        assert [call.request.headers["Authorization"] for call in gate.calls] == ["Bearer first", "Bearer rotated"]


@pytest.mark.parametrize(
    ("status", "body", "retry", "says"),
    [
        (401, {"detail": "Send the gate's token."}, False, "refuses the token: Send the gate's token."),
        (403, {"detail": "No."}, False, "refuses the token"),
        (404, {"detail": "There is no PactBroker 'x' in namespace 'shop' here."}, False, "There is no PactBroker"),
        (422, {"detail": "version is missing"}, False, "version is missing"),
        (422, {"detail": [{"loc": ["query"]}]}, False, "is no gate: status 422"),
        (503, {"detail": "The operator is starting."}, True, "status 503: The operator is starting."),
        (502, "<html>bad gateway</html>", True, "status 502."),
        (429, {}, True, "status 429."),
        (200, "<html>a log-in page</html>", False, "is no gate: status 200"),
        (200, "[" * 100_000, False, "is no gate"),
        (200, {"allowed": "true", "verdict": "Allowed"}, False, "is no gate"),
        (200, {"allowed": True}, False, "is no gate"),
        (302, "", False, "is no gate: status 302"),
        (0, requests.ConnectionError("Name or service not known"), True, "does not answer: Name or service not known"),
        (0, requests.ReadTimeout("read timed out"), True, "does not answer: read timed out"),
        (0, requests.exceptions.SSLError("self-signed certificate"), False, "is not trusted: self-signed"),
    ],
)
def test_whatever_is_no_answer_never_allows(status: int, body: Any, retry: bool, says: str) -> None:
    answer = answer_of(status, body)
    assert (answer.outcome, answer.retry) == (Outcome.CANNOT_TELL, retry)
    assert says in answer.message
    assert answer.next_step
    assert "hidden-secret" not in answer.message + answer.next_step


def test_a_refusal_counts_with_any_status_and_a_yes_only_with_200() -> None:
    assert answer_of(404, BROKEN).outcome is Outcome.REFUSED
    assert answer_of(403, ALLOWED).outcome is Outcome.CANNOT_TELL


def test_why_nobody_answers_is_said_without_the_wrapping() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        message = ask(settings(GATE_URL=url), requests.Session()).message
    assert re.fullmatch(rf"The gate at {url} does not answer: [^()]*Connection refused", message), message


def test_an_answer_without_end_is_cut() -> None:
    assert answer_of(200, b'{"allowed": true, "verdict": "' + b"x" * (5 * 1024 * 1024)).outcome is Outcome.CANNOT_TELL


@given(st.dictionaries(st.sampled_from([*BROKEN, "x"]), st.none() | st.booleans() | st.text() | st.just([{}, 1])))
def test_no_answer_of_any_shape_breaks_the_reading(body: Any) -> None:
    answer = read(body)
    assert answer is None or answer.allowed is body["allowed"]


# --- waiting ---------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def waited(bodies: Sequence[Any], **changes: str) -> tuple[Answer, list[float]]:
    clock, told = Clock(), list[float]()
    with responses.RequestsMock() as gate:
        for body in bodies:
            gate.get(URL, json=body)
        answer = wait(
            settings(GATE_POLL_SECONDS="2", **changes),
            requests.Session(),
            lambda seconds, _: told.append(seconds),
            now=clock.now,
            sleep=clock.sleep,
        )
    return answer, told


def test_it_waits_while_that_helps() -> None:
    answer, told = waited([PENDING, PENDING, ALLOWED])
    assert answer.outcome is Outcome.ALLOWED
    assert told == [0, 2, 4]


def test_it_does_not_wait_for_what_waiting_does_not_mend() -> None:
    answer, told = waited([BROKEN])
    assert answer.outcome is Outcome.REFUSED
    assert told == [0]


def test_nothing_to_check_is_not_waited_for_though_the_gate_would_have_it_asked_again() -> None:
    answer, told = waited([PENDING | {"verdict": "NothingToCheck"}])
    assert answer.outcome is Outcome.NOTHING_TO_CHECK
    assert told == [0]


def test_what_shadow_mode_lets_pass_is_not_waited_for() -> None:
    answer, told = waited([PENDING | {"allowed": True, "shadow": True}])
    assert answer.outcome is Outcome.ALLOWED
    assert told == [0]


def test_its_time_ends_and_the_last_answer_is_told() -> None:
    answer, told = waited([PENDING], GATE_TIMEOUT_SECONDS="5")
    assert answer.outcome is Outcome.CANNOT_TELL
    assert answer.message == "No final answer within 5 s: 1 of 2 results is missing."
    assert told == [0, 2, 4, 5], "the last question is asked when the time is up, not before"


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "outcome", "code"),
    [
        ({"allowed": True, "verdict": "Allowed"}, Outcome.ALLOWED, 0),
        ({"verdict": "Broken"}, Outcome.REFUSED, 1),
        ({"verdict": "SomethingNew"}, Outcome.REFUSED, 1),
        ({"verdict": "NothingToCheck"}, Outcome.NOTHING_TO_CHECK, 2),
        ({"verdict": "NothingToCheck", "allowed": True}, Outcome.ALLOWED, 0),
        ({"verdict": "Pending"}, Outcome.CANNOT_TELL, 75),
        ({"verdict": "CannotTell"}, Outcome.CANNOT_TELL, 75),
        ({"verdict": "Broken", "allowed": True, "shadow": True}, Outcome.ALLOWED, 0),
    ],
)
def test_exit_codes(change: dict[str, Any], outcome: Outcome, code: int) -> None:
    answer = read(BROKEN | change)
    assert answer
    assert (answer.outcome, EXIT_CODES[answer.outcome]) == (outcome, code)


def test_the_screen_says_what_is_wrong_and_what_to_do() -> None:
    answer = read(BROKEN)
    assert answer
    assert verdict(settings().question, answer) == (
        "\n"
        "consumer              provider                state\n"
        "users-consumer 1.2.0  flask provider 2.0.0+x  Failed    a request for user 123: body $.email is missing\n"
        "old-consumer 1        flask provider 2.0.0+x  Verified\n"
        "\n"
        "REFUSED: flask provider 2.0.0+x to production: "
        "users-consumer 1.2.0 in production: a request for user 123: body $.email is missing\n"
        "What to do: Read the mismatch: serve what the consumer expects.\n"
    )


def test_a_pass_that_is_no_yes_says_so() -> None:
    shadow = read(BROKEN | {"allowed": True, "shadow": True})
    rule = read(BROKEN | {"allowed": True, "verdict": "NothingToCheck"})
    assert shadow
    assert rule
    question = settings().question
    assert "It passes because the gate is in shadow mode; the verdict was Broken." in verdict(question, shadow)
    assert "PactBroker's spec.gate lets it pass; the verdict was NothingToCheck." in verdict(question, rule)


def test_a_long_table_keeps_what_failed() -> None:
    many = [BROKEN["contracts"][1]] * (SHOWN + 5) + [BROKEN["contracts"][0]]
    answer = read(BROKEN | {"contracts": many})
    assert answer
    text = verdict(settings().question, answer)
    assert "Failed" in text
    assert "... and 6 more" in text


def test_escape_sequences_do_not_reach_the_screen() -> None:
    answer = read(BROKEN | {"message": "\x1b[2Jgone\u202e\nsecond line"})
    assert answer
    assert answer.message == "gone second line"


texts = st.text(max_size=1500)


@given(texts, texts, st.lists(st.tuples(texts, texts), max_size=30))
def test_the_termination_message_is_valid_and_short(message: str, name: str, sides: list[tuple[str, str]]) -> None:
    contracts = tuple(Contract(clean(c, 255), clean(p, 255), "Failed", clean(p, 600), False) for c, p in sides)
    answer = Answer(False, "Broken", message, message, contracts=contracts)
    question = Question("shop", "pact-broker", name, name, name, verify=False)
    content = termination(question, answer)
    assert len(content) < 4096
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(content))


def test_termination_leaves_out_what_does_not_fit_and_says_so() -> None:
    contract = Contract("c" * 200, "p" * 200, "Failed", "m" * 200, False)
    said = json.loads(termination(None, Answer(False, "Broken", "x", contracts=(contract,) * 30)))
    assert said["truncated"] is True
    assert 1 <= len(said["contracts"]) < 30


# --- settings --------------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    env = {key: value for key, value in ENV.items() if key != "GATE_POLL_SECONDS"}
    found = parse_settings(env)
    assert (found.url, found.timeout, found.poll, found.ca_file) == ("http://gate.test:8080", 240.0, 2.0, None)
    assert (found.question.environment, found.question.verify) == ("", False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"GATE_URL": ""}, "GATE_URL is not set"),
        ({"GATE_URL": "pact-operator:8080"}, "GATE_URL must be"),
        ({"GATE_URL": "http://u:hidden-secret@h"}, "GATE_URL must be"),
        ({"GATE_URL": "http://h/?a=b"}, "GATE_URL must be"),
        ({"GATE_NAMESPACE": "Shop"}, "GATE_NAMESPACE must be the name"),
        ({"GATE_BROKER": "a/b"}, "GATE_BROKER must be the name"),
        ({"GATE_PACTICIPANT": " "}, "GATE_PACTICIPANT is not set"),
        ({"GATE_VERSION": ""}, "GATE_VERSION is not set"),
        ({"GATE_TOKEN": ""}, "exactly one of GATE_TOKEN_FILE and GATE_TOKEN"),
        ({"GATE_TOKEN_FILE": "/nowhere"}, "exactly one of GATE_TOKEN_FILE and GATE_TOKEN"),
        ({"GATE_TOKEN": "", "GATE_TOKEN_FILE": "/nowhere"}, "/nowhere, which cannot be read"),
        ({"GATE_TOKEN": "", "GATE_TOKEN_FILE": "/dev/null"}, "/dev/null, which is empty"),
        ({"GATE_CA_FILE": "/nowhere"}, "GATE_CA_FILE names /nowhere"),
        ({"GATE_TIMEOUT_SECONDS": "soon"}, "GATE_TIMEOUT_SECONDS must be a number"),
        ({"GATE_POLL_SECONDS": "0"}, "GATE_POLL_SECONDS must be a number"),
        ({"GATE_VERIFY": "perhaps"}, "GATE_VERIFY must be true or false"),
    ],
)
def test_unusable_settings_are_one_sentence_without_secrets(change: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        parse_settings(ENV | change)
    assert "hidden-secret" not in str(caught.value)


# --- the process -----------------------------------------------------------------------------------------------------


@contextmanager
def serving(respond: Callable[[int], tuple[int, Any]]) -> Iterator[tuple[str, threading.Event]]:
    """A server on loopback; `respond` is given the number of the question. The event tells that one has come."""
    asked, count = threading.Event(), [0]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = respond(count[0])
            count[0] += 1
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            asked.set()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def process(url: str, tmp_path: Path, **changes: str) -> "subprocess.Popen[str]":
    (tmp_path / "token").write_text("hidden-secret", encoding="utf-8")
    env = ENV | {
        "GATE_URL": url,
        "GATE_TOKEN": "",
        "GATE_TOKEN_FILE": str(tmp_path / "token"),
        "GATE_TERMINATION_PATH": str(tmp_path / "message"),
        "PYTHONPATH": str(ROOT / "src"),
        "PATH": os.environ["PATH"],
        "NO_PROXY": "127.0.0.1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "gate"], env=env | changes, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_the_process_waits_shows_each_change_once_and_ends_with_the_answer(tmp_path: Path) -> None:
    answers = [(503, {"detail": "The operator is starting."}), (200, PENDING), (200, PENDING), (200, BROKEN)]
    with serving(lambda number: answers[number]) as (url, _):
        job = process(url, tmp_path)
        output, _ = job.communicate(timeout=60)
    assert job.returncode == 1
    assert output.splitlines()[0].startswith("May flask provider 2.0.0+x go to the environment of PactBroker shop/")
    assert output.count("Pending: 1 of 2 results is missing.") == 1
    assert output.count("The operator is starting.") == 1
    assert "REFUSED: flask provider 2.0.0+x to production: users-consumer 1.2.0" in output
    assert "hidden-secret" not in output
    said = json.loads((tmp_path / "message").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(SCHEMA).validate(said)
    assert (said["outcome"], said["exitCode"]) == ("Refused", 1)


def test_a_job_that_is_stopped_says_so(tmp_path: Path) -> None:
    with serving(lambda _: (200, PENDING)) as (url, asked):
        job = process(url, tmp_path, GATE_POLL_SECONDS="60")
        assert asked.wait(30)
        assert job.stdout
        lines = [job.stdout.readline(), job.stdout.readline()]
        job.send_signal(signal.SIGTERM)
        output, _ = job.communicate(timeout=30)
    assert "Pending" in lines[1]
    assert job.returncode == 75
    assert "Stopped from outside before there was a final answer; the last one: Pending: 1 of 2" in output
    assert json.loads((tmp_path / "message").read_text(encoding="utf-8"))["outcome"] == "CannotTell"


def test_bad_settings_end_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = tmp_path / "message"
    assert main({"GATE_TERMINATION_PATH": str(message)}) == 75
    assert capsys.readouterr().out == "CANNOT TELL: GATE_NAMESPACE is not set. Set it in the environment of this Job.\n"
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(message.read_text(encoding="utf-8")))
