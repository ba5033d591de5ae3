"""`python -m publisher`: what it refuses, what it sends, and how it says so."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brokerclient import BasicAuth, BrokerClient
from publisher.outcome import Entry, Outcome, Reason, Verdict, changes, log_text, render
from publisher.pacts import PactError, PactFile, contracts
from tests.support.broker import READER, WRITER, free_port, running_broker, source_path

SCHEMA = json.loads((Path(__file__).parents[1] / "termination.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
EXIT_CODES = {"Published": 0, "Rejected": 1, "NothingWritten": 2, "InfrastructureError": 75}


def pact(
    consumer: str = "shop", provider: str = "users", *descriptions: str, path: str = "/", spec: str = "4.0"
) -> dict[str, Any]:
    items = [
        {
            "type": "Synchronous/HTTP",
            "description": description,
            "request": {"method": "GET", "path": path},
            "response": {"status": 200},
        }
        for description in descriptions or ("one",)
    ]
    return {
        "consumer": {"name": consumer},
        "provider": {"name": provider},
        "interactions": items,
        "metadata": {"pactSpecification": {"version": spec}},
    }


def file(name: str, document: Any) -> PactFile:
    return PactFile(name, document if isinstance(document, bytes) else json.dumps(document).encode())


# -- what may be published


def test_files_of_one_provider_are_merged_and_repeated_interactions_kept_once() -> None:
    messages = pact(provider="users") | {"interactions": [], "messages": [{"description": "m"}]}
    found = contracts(
        [
            file("a.json", pact("shop", "users", "one", "two")),
            file("b.json", pact("shop", "users", "two", "three")),
            file("c.json", messages),
            file("d.json", pact("shop", "billing")),
        ],
        "shop",
    )
    assert [(one.provider, one.interactions, one.files) for one in found] == [
        ("billing", 1, ("d.json",)),
        ("users", 4, ("a.json", "b.json", "c.json")),
    ]
    assert [item["description"] for item in found[1].document["interactions"]] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([file("x.json", b"{")], "x.json is not JSON: Expecting property name"),
        ([file("x.json", b"")], "did the tests end before they had written it?"),
        ([file("x.json", b"\xff\xfe")], "x.json is not UTF-8"),
        ([file("x.json", b"[" * 100_000)], "x.json is not JSON"),
        ([file("x.json", [])], "x.json is not a pact: it is JSON, and not an object"),
        ([file("x.json", {"a": 1})], "does not name its consumer"),
        ([file("x.json", pact() | {"provider": {"name": " "}})], "does not name its provider"),
        ([file("x.json", pact() | {"interactions": {}})], "no list of interactions"),
        ([file("x.json", pact() | {"interactions": ["one"]})], "no list of interactions"),
        ([file("x.json", pact() | {"a": float("nan")})], "JSON cannot carry"),
        ([file("x.json", pact() | {"a": "\ud800"})], "JSON cannot carry"),
        (
            [file("a.json", pact(path="/1")), file("b.json", pact(path="/2"))],
            "a.json and b.json describe 'one' differently",
        ),
        (
            [file("a.json", pact()), file("b.json", pact(spec="3.0"))],
            "a.json and b.json are pacts with users of different specification versions (4.0 and 3.0)",
        ),
    ],
)
def test_files_that_cannot_be_published_are_named(files: list[PactFile], says: str) -> None:
    with pytest.raises(PactError) as caught:
        contracts(files, "shop")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.another_consumer is False


# -- how it is said


def test_every_reason_belongs_to_one_outcome_and_fits_the_schema() -> None:
    for reason in Reason:
        verdict = Verdict(reason, "m", "shop", "1", (Entry("users", 1, None),))
        VALIDATOR.validate(json.loads(render(verdict)))
        assert verdict.exit_code == EXIT_CODES[verdict.outcome.value]
    assert Verdict(Reason.PACT_INVALID, "m", "s", "1").outcome is Outcome.REJECTED


TEXT = st.text(max_size=80) | st.sampled_from(["\x1b[31mred", "\u202eevil", "é" * 500, "\U0001f600" * 1200])
ENTRIES = st.builds(Entry, TEXT, st.integers(0, 10**6), st.none() | TEXT)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.builds(Verdict, st.sampled_from(list(Reason)), TEXT, TEXT, TEXT, st.lists(ENTRIES, max_size=40).map(tuple), TEXT)
)
def test_any_message_is_valid_short_and_harmless(verdict: Verdict) -> None:
    content = render(verdict)
    assert len(content) < 4096
    message = json.loads(content)
    VALIDATOR.validate(message)
    assert message["truncated"] or len(message["pacts"]) == len(verdict.pacts)
    for text in (content.decode(), log_text(verdict)):
        assert not any((ord(char) < 32 and char != "\n") or char in "\x7f\u202e" for char in text)


def test_the_change_is_picked_out_of_the_brokers_diff() -> None:
    diff = 'Cannot change\n {\n   "a": [\n-      "description": "i1",\n+      "description": "i2",\n+    },\n   ]'
    assert changes(diff) == '- "description": "i1", + "description": "i2",'


# -- the process, against a real broker


@dataclass(frozen=True)
class Run:
    code: int
    message: dict[str, Any]
    stdout: str
    stderr: str


class Bench:
    def __init__(self, url: str, consumer: str, folder: Path) -> None:
        self.url, self.consumer = url, consumer
        self.pacts, self.termination = folder / "pacts", folder / "termination"
        self.pacts.mkdir()

    def write(self, name: str, document: Any) -> None:
        target = self.pacts / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(document if isinstance(document, str) else json.dumps(document))

    def publish(self, **change: str) -> Run:
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": source_path(),
            "PACT_BROKER_BASE_URL": self.url,
            "PACT_BROKER_USERNAME": WRITER[0],
            "PACT_BROKER_PASSWORD": WRITER[1],
            "PP_CONSUMER": self.consumer,
            "PP_CONSUMER_VERSION": "1.0+x/y",
            "PP_BRANCH": "feat/x",
            "PP_BUILD_URL": "http://ci.example.com/1",
            "PP_PACT_DIR": str(self.pacts),
            "PP_TERMINATION_PATH": str(self.termination),
        } | change
        done = subprocess.run(
            [sys.executable, "-m", "publisher"], env=env, capture_output=True, text=True, timeout=60, check=False
        )
        content = self.termination.read_bytes()
        message = json.loads(content)
        VALIDATOR.validate(message)
        assert EXIT_CODES[message["outcome"]] == done.returncode
        everything = done.stdout + done.stderr + content.decode()
        assert not any(secret in everything for secret in (WRITER[1], READER[1]))
        assert "Traceback" not in everything
        assert message["message"] in done.stdout
        return Run(done.returncode, message, done.stdout, done.stderr)

    def held(self) -> list[Mapping[str, Any]]:
        with BrokerClient(self.url, auth=BasicAuth(*WRITER)) as client:
            urls = [one.url for one in client.latest_pacts() if one.consumer == self.consumer]
            return [client.get_pact(url) for url in urls if url]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_broker(tmp_path_factory.mktemp("broker")) as url:
        yield url


@pytest.fixture
def bench(broker: str, tmp_path: Path, request: pytest.FixtureRequest) -> Bench:
    return Bench(broker, request.node.name.removeprefix("test_"), tmp_path)


def test_all_pacts_are_published_with_version_branch_and_build(bench: Bench) -> None:
    bench.write("users.json", pact(bench.consumer, "publisher users", "one", "two"))
    bench.write("deep/billing.json", pact(bench.consumer, "publisher billing"))
    bench.write(".hidden.json", "not json")
    bench.write("notes.txt", "not json")
    run = bench.publish()
    assert run.code == 0, run.stdout
    assert [(p["provider"], p["interactions"]) for p in run.message["pacts"]] == [
        ("publisher billing", 1),
        ("publisher users", 2),
    ]
    assert run.stdout.splitlines()[0].split() == ["PROVIDER", "INTERACTIONS", "URL"], "the table comes first"
    with BrokerClient(bench.url, auth=BasicAuth(*WRITER)) as client:
        for entry in run.message["pacts"]:
            assert entry["url"].startswith(bench.url)
            assert client.get_pact(entry["url"])["provider"]["name"] == entry["provider"]
        version = client.version(bench.consumer, "1.0+x/y")
    assert version is not None
    assert ([b.name for b in version.branches], version.build_url) == (["feat/x"], "http://ci.example.com/1")


def test_publishing_the_same_again_is_fine(bench: Bench) -> None:
    bench.write("users.json", pact(bench.consumer, "again users"))
    assert [bench.publish().code, bench.publish().code] == [0, 0]


def test_changed_pact_of_the_same_version_is_rejected_with_the_change(bench: Bench) -> None:
    bench.write("users.json", pact(bench.consumer, "changing users", path="/1"))
    assert bench.publish().code == 0
    bench.write("users.json", pact(bench.consumer, "changing users", path="/2"))
    run = bench.publish()
    assert (run.code, run.message["reason"]) == (1, "PublishRejected")
    assert "Cannot change the content of the pact" in run.message["message"]
    assert '+ "path": "/2"' in run.message["message"]
    assert '"path": "/1"' in run.stdout
    assert run.message["pacts"][0]["url"] is None


def test_one_bad_file_keeps_all_from_being_published(bench: Bench) -> None:
    bench.write("a.json", pact(bench.consumer, "good users"))
    bench.write("b.json", '{"consumer": ')
    run = bench.publish()
    assert (run.code, run.message["reason"]) == (1, "PactInvalid")
    assert run.message["message"].startswith("Nothing was published: b.json is not JSON")
    assert bench.held() == []


def test_pact_of_another_consumer_is_rejected(bench: Bench) -> None:
    bench.write("a.json", pact("somebody else", "other users"))
    run = bench.publish()
    assert (run.code, run.message["reason"]) == (1, "PactNamesAnotherConsumer")
    assert f"a.json is a pact of 'somebody else', not of '{bench.consumer}'" in run.message["message"]


def test_files_of_the_same_pair_are_published_as_one_pact(bench: Bench) -> None:
    bench.write("a.json", pact(bench.consumer, "merged users", "one"))
    bench.write("b.json", pact(bench.consumer, "merged users", "two"))
    run = bench.publish()
    assert run.code == 0
    assert "a.json, b.json are merged into one pact with merged users" in run.stderr
    (held,) = bench.held()
    assert [item["description"] for item in held["interactions"]] == ["one", "two"]


def test_tests_that_wrote_nothing(bench: Bench) -> None:
    run = bench.publish()
    assert (run.code, run.message["reason"]) == (2, "NothingWritten")
    assert str(bench.pacts) in run.message["message"]


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        ({"PACT_BROKER_PASSWORD": "hidden-secret"}, "BrokerUnauthorized", "user name and password"),
        ({"PACT_BROKER_USERNAME": READER[0], "PACT_BROKER_PASSWORD": READER[1]}, "BrokerUnauthorized", "may only read"),
        ({"PACT_BROKER_USERNAME": "", "PACT_BROKER_PASSWORD": ""}, "BrokerUnauthorized", "none are configured"),
        ({"PACT_BROKER_BASE_URL": f"http://127.0.0.1:{free_port()}"}, "BrokerUnavailable", "connection refused"),
        ({"PACT_BROKER_BASE_URL": ""}, "InvalidConfiguration", "PACT_BROKER_BASE_URL is not set"),
        ({"PP_CONSUMER_VERSION": ""}, "InvalidConfiguration", "PP_CONSUMER_VERSION is not set"),
        ({"PP_PACT_DIR": "/nowhere"}, "InvalidConfiguration", "There is no folder /nowhere"),
        ({"PP_CA_FILE": "/nowhere.pem", "PACT_BROKER_BASE_URL": "https://127.0.0.1:1"}, "BrokerUnavailable", "CA file"),
    ],
)
def test_infrastructure(bench: Bench, change: dict[str, str], reason: str, says: str) -> None:
    bench.write("a.json", pact(bench.consumer, "infra users"))
    run = bench.publish(**change)
    assert (run.code, run.message["reason"]) == (75, reason)
    assert says in run.message["message"]
    assert "hidden-secret" not in run.stdout + run.stderr
    assert bench.held() == []
