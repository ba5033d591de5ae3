"""Copying into another broker: from every store into a fresh one, and the two then answer alike."""

import base64
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from broker_lite import __main__ as program
from broker_lite.config import Credentials, Settings
from broker_lite.domain import content
from broker_lite.domain.webhook_rules import AllowLists
from broker_lite.store import webhooks
from broker_lite.store.engine import Store
from services.broker_lite.tests.support import scenes
from services.broker_lite.tests.support.server import Served, serve

WEBHOOK = "0123456789abcdef-copied"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@pytest.fixture
def other(lite_store: Store, settings: Settings) -> Iterator[Served]:
    """The broker that is copied into."""
    lists = AllowLists(schemes=("https", "http"))
    with serve(replace(settings, writer=Credentials("rw", "wpass"), allow_lists=lists), lite_store) as served:
        served.headers["authorization"] = f"Basic {base64.b64encode(b'rw:wpass').decode()}"
        yield served


@pytest.fixture(autouse=True)
def environment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command is told: its own store, and the credentials of the other broker."""
    url = store.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("PACT_BROKER_DATABASE_URL", url)
    monkeypatch.setenv("TARGET_USERNAME", "rw")
    monkeypatch.setenv("TARGET_PASSWORD", "wpass")


def _history(served: Served) -> None:
    """More than the demo: whatever the other broker could get wrong."""
    scenes.demo(served)
    lives = served.ok("GET", "/environments?name=production")["_embedded"]["environments"][0]["uuid"]
    # A pact that came with ids of its own, one with a slash in its version, and contents that come back.
    own = {**scenes.MISSING, "_id": "chosen by its writer"}
    scenes.publish(
        served, "feat/1", scenes.pact("reports", "archive", [own]), branch="feat/x", tags=["a b", "production"]
    )
    scenes.publish(served, "2", scenes.pact("reports", "archive", [scenes.MISSING]), branch="feat/x")
    scenes.publish(served, "3", scenes.pact("reports", "archive", []), branch="main")
    sha = served.sha("reports", "2", "archive")
    for success, number in ((False, "a1"), (True, "a1"), (False, "a2")):
        served.verify("reports", "archive", sha, number, success=success)
    served.ok("PUT", "/pacticipants/archive/branches/main/versions/a1", {})
    served.ok("PUT", "/pacticipants/archive/versions/a2/tags/late", {})
    # Replaced, ended, and of two instances.
    for number, instance in (("a1", None), ("a2", None), ("a1", "green"), ("a2", "blue")):
        body = {} if instance is None else {"applicationInstance": instance}
        path = f"/pacticipants/archive/versions/{number}/deployed-versions/environment/{lives}"
        last = served.ok("POST", path, body)["uuid"]
    merge = {"content-type": "application/merge-patch+json"}
    served.ok("PATCH", f"/deployed-versions/{last}", {"currentlyDeployed": False}, merge)
    for number in ("2", "3"):
        path = f"/pacticipants/reports/versions/{number}/released-versions/environment/{lives}"
        released = served.ok("POST", path, {})["uuid"]
    served.ok("PATCH", f"/released-versions/{released}", {"currentlySupported": False}, merge)
    served.ok("PATCH", "/pacticipants/reports", {"repositoryUrl": "https://git.example.com/reports"}, merge)


QUESTIONS = [
    ("GET", "/pacticipants", None),
    ("GET", "/pacticipants/reports/versions", None),
    ("GET", "/pacticipants/archive/branches", None),
    ("GET", "/pacticipants/reports/versions/feat%2F1", None),
    ("GET", "/environments", None),
    ("GET", "/integrations", None),
    ("GET", "/dashboard", None),
    ("GET", "/pacts/latest", None),
    ("GET", "/pacts/provider/archive/consumer/reports/version/feat%2F1", None),
    ("GET", "/matrix/provider/archive/consumer/reports", None),
    ("GET", "/matrix?q[][pacticipant]=users-consumer&q[][pacticipant]=flask-provider", None),
    ("GET", "/can-i-deploy?pacticipant=reports&version=2&environment=production", None),
    ("GET", "/can-i-deploy?pacticipant=users-consumer&version=1.0.0-231b3fd8&environment=demo", None),
    ("POST", "/pacts/provider/flask-provider/for-verification", {"providerVersionBranch": "main"}),
    ("POST", "/pacts/provider/archive/for-verification", {"providerVersionBranch": "new"}),
    ("GET", f"/webhooks/{WEBHOOK}", None),
    ("GET", "/verification-results/consumer/users-consumer/version/1.1.0-9f1c22aa/latest", None),
]


def _answer(served: Served, method: str, path: str, body: Any) -> Any:
    """An answer without what is the other broker's own: its address, its times and its ids."""
    text = json.dumps(served.ok(method, path, body)).replace(served.url, "")

    def known(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: value for key, value in pairs if key != "updatedAt"}

    return json.loads(_UUID.sub("UUID", _MOMENT.sub("MOMENT", text)), object_pairs_hook=known)


def test_the_other_broker_answers_as_this_one(
    served: Served, other: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    _history(served)
    request = {"method": "POST", "url": "http://ci.example.com/x", "headers": {"Authorization": "Bearer secret-token"}}
    with serve(replace(served.settings, allow_lists=AllowLists(schemes=("http",))), served.store) as lenient:
        hook = {"request": request | {"username": "u", "password": "p"}, "consumer": {"label": "team-a"}}
        lenient.ok("PUT", f"/webhooks/{WEBHOOK}", hook | {"events": [{"name": "contract_published"}]})
    assert program.main(["copy-to", other.url]) == 0
    told = capsys.readouterr().out
    assert told.startswith("5 pacticipants, ")
    assert "The matrices of 3 pairs are equal in both brokers." in told
    for question in QUESTIONS:
        assert _answer(other, *question) == _answer(served, *question), question
    with other.store.transaction(writes=False) as session:
        [copied] = webhooks.listed(session)
        assert (copied.headers, copied.password) == ({"authorization": "Bearer secret-token"}, "p")


def test_a_filled_broker_is_left_alone_unless_told(
    served: Served, other: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served.publish("C", "1", "P", branch="main")
    served.verify("C", "P", served.sha("C", "1", "P"), "p1")
    other.ok("PUT", "/pacticipants/Z/versions/1", {})
    assert program.main(["copy-to", other.url]) == 1
    assert "holds pacticipants already" in capsys.readouterr().err
    assert other.send("GET", "/pacticipants/C").status == 404
    # Once more after a copy that broke off: everything is there, and nothing says otherwise.
    assert program.main(["copy-to", other.url, "--into-filled"]) == 0
    monkeypatch.delenv("TARGET_USERNAME")
    monkeypatch.setattr("sys.stdin", io.StringIO("wpass\n"))
    assert program.main(["copy-to", other.url, "--into-filled", "--username", "rw", "--password-stdin"]) == 0
    assert other.ok("GET", "/matrix/provider/P/consumer/C")["summary"]["success"] == 1


def test_what_the_other_broker_refuses_is_named(
    served: Served, other: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served.publish("C", "1", "P")
    served.ok("PUT", f"/webhooks/{WEBHOOK}", {"request": {"method": "POST", "url": "https://ci.example.com/x"}})
    with serve(replace(other.settings, allow_lists=AllowLists(hosts=("only.example.com",))), other.store) as strict:
        assert program.main(["copy-to", strict.url]) == 1
    assert f"The webhook {WEBHOOK} was refused." in capsys.readouterr().out
    monkeypatch.setenv("TARGET_PASSWORD", "wrong")
    assert program.main(["copy-to", other.url]) == 1
    assert "401" in capsys.readouterr().err


def test_a_broker_that_is_not_there(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["copy-to", "http://127.0.0.1:9"]) == 75
    assert "GET http://127.0.0.1:9/pacticipants" in capsys.readouterr().err
    assert program.main(["copy-to", "not a url"]) != 0


def test_ids_of_a_writer_stay_and_those_of_the_store_go() -> None:
    document = {"interactions": [{"description": "a"}, {"_id": "own", "description": "b"}]}
    stored = content.with_interaction_ids(document)
    assert content.without_given_ids(stored) == document
    assert content.content_sha(content.without_given_ids(stored)) == content.content_sha(document)
