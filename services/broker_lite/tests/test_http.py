"""What every route shares: names, negotiation, authentication, bounds, errors."""

import base64
import json
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from broker_lite import log
from broker_lite.config import Credentials, Settings
from broker_lite.store.engine import Store
from services.broker_lite.tests.support.server import Served, publication, serve

HARD_NAMES = ["feat/x", "a b", "50%", "ü☃", "a+b", "?q#", "..", "semi;colon", "%2F", "x" * 200]


@pytest.mark.parametrize("name", HARD_NAMES)
def test_any_name_survives_its_links(lite: Served, name: str) -> None:
    lite.publish(name, name, "P", branch=name, tags=[name])
    version = lite.ok("GET", "/pacticipants")["_embedded"]["pacticipants"]
    link = next(one["_links"]["self"]["href"] for one in version if one["name"] == name)
    shown = lite.ok("GET", link.removeprefix(lite.url))
    assert shown["name"] == name
    latest = shown["_embedded"]["latestVersion"]["_links"]["self"]["href"]
    body = lite.ok("GET", latest.removeprefix(lite.url))
    assert body["number"] == name
    for href in (
        body["_embedded"]["branchVersions"][0]["_links"]["self"]["href"],
        body["_embedded"]["tags"][0]["_links"]["self"]["href"],
        body["_links"]["pb:pact-versions"][0]["href"],
    ):
        lite.ok("GET", href.removeprefix(lite.url))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/contracts/publish", [1]),
        ("/contracts/publish", {**publication("C", "1", "P"), "contracts": [5]}),
        ("/contracts/publish", {**publication("C", "1", "P"), "pacticipantVersionNumber": 5}),
        ("/contracts/publish", {**publication("C", "x" * 300, "P")}),
        ("/contracts/publish", publication("C\0", "1", "P")),
        ("/contracts/publish", publication("C", "1", "P", branch="a\0b")),
        ("/contracts/publish", publication("C", "1", "P", tags=["\t"])),
        ("/contracts/publish", publication("C", "1", "P\ud800")),
        ("/pacticipants", {"name": " "}),
        ("/pacticipants", {"name": "a\ud800"}),
        ("/pacticipants", {"name": "a", "mainBranch": 1}),
        ("/environments", {"name": "a", "production": True, "contacts": [{"details": 1}]}),
        ("/webhooks", {"request": {"method": "POST", "url": "https://x", "headers": {"a": 1}}}),
        ("/pacts/provider/P/for-verification", {"providerVersionTags": "x"}),
    ],
)
def test_bad_bodies_get_a_400_that_says_why(lite: Served, path: str, body: object) -> None:
    lite.ok("PUT", "/pacticipants/P/versions/1", {})
    answer = lite.send("POST", path, body)
    assert answer.status == 400
    assert answer.body.get("errors") or answer.body.get("error")


@pytest.mark.parametrize("page", ["pageNumber=0", "pageSize=x", "page=-1&size=2"])
def test_bad_pages_are_refused(lite: Served, page: str) -> None:
    assert lite.send("GET", f"/pacticipants?{page}").status == 400


def test_pages(lite: Served) -> None:
    for number in range(5):
        lite.ok("POST", "/pacticipants", {"name": f"app{number}"})
    body = lite.ok("GET", "/pacticipants?pageNumber=2&pageSize=2")
    assert [one["name"] for one in body["_embedded"]["pacticipants"]] == ["app2", "app3"]
    assert body["page"] == {"number": 2, "size": 2, "totalElements": 5, "totalPages": 3}
    following = lite.ok("GET", body["_links"]["next"]["href"].removeprefix(lite.url))
    assert [one["name"] for one in following["_embedded"]["pacticipants"]] == ["app4"]


def test_malformed_text_is_a_400(lite: Served) -> None:
    for raw in (b"{", b"\xff\xfe", b'{"a":NaN}', b"[" * 5000):
        answer = lite.send("POST", "/pacticipants", raw, {"content-type": "application/json"})
        assert (answer.status, list(answer.body)) == (400, ["error"]), raw


def test_unserved_routes_are_404_in_json(lite: Served) -> None:
    for path in ("/nothing/here", "/doc/webhooks", "/hal-browser/browser.html", "/docs", "/redoc"):
        answer = lite.send("GET", path, headers={"accept": "*/*"})
        assert (answer.status, list(answer.body)) == (404, ["error"]), path


def test_an_invalid_request_is_told_so_before_an_unacceptable_accept_and_nothing_is_kept(lite: Served) -> None:
    accept = {"accept": "image/png"}
    assert lite.send("POST", "/pacticipants", {"name": " "}, accept).status == 400
    assert lite.send("POST", "/pacticipants", {"name": "kept"}, accept).status == 406
    assert lite.send("GET", "/pacticipants/kept").status == 404
    assert lite.send("GET", "/pacticipants/kept", headers=accept).status == 406
    unreachable = {"request": {"method": "POST", "url": "https://127.0.0.1:1/"}}
    assert lite.send("POST", "/webhooks/execute", unreachable, accept).status == 406


def test_who_is_connected_with_whom(lite: Served) -> None:
    lite.publish("A", "1", "B")
    lite.publish("A", "1", "C,c")
    lite.publish("X", "1", "Y")
    text = {"accept": "text/csv"}
    everything = lite.send("GET", "/relationships", headers=text)
    assert everything.headers["content-type"] == "text/csv;charset=utf-8"
    rows = [line.split(",") for line in everything.text.replace('"C,c"', "C").splitlines()]
    ids = {row[1]: row[0] for row in rows}
    assert rows == [
        [ids["A"], "A", "1", "1", "0", "1", ids["B"], ids["C"]],
        [ids["B"], "B", "1", "1", "0", "2", "0", "0"],
        [ids["C"], "C", "1", "1", "0", "3", "0", "0"],
        [ids["X"], "X", "1", "1", "0", "4", ids["Y"], "0"],
        [ids["Y"], "Y", "1", "1", "0", "5", "0", "0"],
    ]
    assert lite.send("GET", "/groups/B.csv").text.count("\n") == 3
    assert lite.send("GET", "/groups/B?maxPacticipants=1", headers=text).text == ""
    assert lite.send("GET", "/groups/nobody", headers=text).status == 404


def test_a_result_with_the_tags_of_its_provider_version(lite: Served) -> None:
    lite.publish("C", "1", "P")
    sha = lite.sha("C", "1", "P")
    lite.verify("C", "P", sha, "p1")
    lite.ok("PUT", "/pacticipants/P/versions/p1/tags/prod", {})
    path = f"/pacts/provider/P/consumer/C/pact-version/{sha}/verification-results/1"
    answer = lite.send("GET", path, headers={"accept": "application/vnd.pactbrokerextended.v1+json"})
    assert answer.headers["content-type"].startswith("application/vnd.pactbrokerextended.v1+json")
    assert [(one["name"], one["latest"]) for one in answer.body["_embedded"]["tags"]] == [("prod", True)]


def test_problem_details_on_request(lite: Served) -> None:
    accept = {"accept": "application/hal+json, application/problem+json"}
    answer = lite.send("POST", "/environments", {}, accept | {"content-type": "application/json"})
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert {one["pointer"] for one in answer.body["errors"]} == {"/name", "/production"}


def test_links_follow_forwarded_headers(lite: Served) -> None:
    headers = {"x-forwarded-host": "pacts.example", "x-forwarded-proto": "https"}
    assert lite.ok("GET", "/", headers=headers)["_links"]["self"]["href"] == "https://pacts.example"


def test_links_use_the_configured_url_of_the_host(lite_store: Store, settings: Settings) -> None:
    urls = ("http://first:1/broker", "https://pacts.example")
    with serve(replace(settings, base_urls=urls), lite_store) as served:
        assert served.ok("GET", "/")["_links"]["self"]["href"] == urls[0]
        headers = {"x-forwarded-host": "pacts.example", "x-forwarded-proto": "https"}
        assert served.ok("GET", "/", headers=headers)["_links"]["self"]["href"] == urls[1]


def test_bodies_are_bounded(lite_store: Store, settings: Settings) -> None:
    with serve(replace(settings, max_body_bytes=1000), lite_store) as served:
        answer = served.send("POST", "/pacticipants", b"x" * 5000, {"content-type": "application/json"})
        assert (answer.status, "1000" in answer.text) == (413, True)
        chunked = {"transfer-encoding": "chunked", "content-type": "application/json"}
        assert _chunked(served, b"x" * 5000, chunked) == 413
        assert served.send("POST", "/pacticipants", {"name": "a"}).status == 201


def _chunked(served: Served, body: bytes, headers: dict[str, str]) -> int:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.request("POST", "/pacticipants", iter([body[:2500], body[2500:]]), headers, encode_chunked=True)
    status = connection.getresponse().status
    connection.close()
    return status


def test_readiness_follows_the_store(lite: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lite.ok("GET", "/diagnostic/status/dependencies")["database"] == {"ok": True}
    monkeypatch.setattr(lite.store, "check", lambda: False)
    assert lite.send("GET", "/diagnostic/status/dependencies").status == 500
    assert lite.ok("GET", "/diagnostic/status/heartbeat")["ok"] is True


def _basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


WRITER, READER = _basic("rw:wpass"), _basic("ro:rpass")


@pytest.fixture
def guarded(lite_store: Store, settings: Settings, request: pytest.FixtureRequest) -> Iterator[Served]:
    changes = getattr(request, "param", {})
    users = replace(settings, writer=Credentials("rw", "wpass"), reader=Credentials("ro", "rpass"))
    with serve(replace(users, **changes), lite_store) as served:
        yield served


ASK = "/pacts/provider/P/for-verification"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 401),
        ("GET", "/", READER, 200),
        ("GET", "/", _basic("ro:wpass"), 401),
        ("GET", "/", {"authorization": "Basic !!!"}, 401),
        ("GET", "/", {"authorization": "Bearer x"}, 400),
        ("GET", "/diagnostic/status/heartbeat", {}, 401),
        ("POST", ASK, READER, 404),
        ("POST", ASK + "/", READER, 404),
        ("POST", "/pacticipants", READER, 401),
        ("POST", "/pacticipants", WRITER, 400),
        ("POST", "/pacticipants/for-verification", READER, 401),
        ("DELETE", "/pacticipants/x", READER, 401),
    ],
)
def test_who_may_do_what(guarded: Served, method: str, path: str, headers: dict[str, str], status: int) -> None:
    body: dict[str, str] | None = {} if method == "POST" else None
    assert guarded.send(method, path, body, {**headers, "content-type": "application/json"}).status == status


@pytest.mark.parametrize("guarded", [{"public_read": True}], indirect=True)
def test_public_read(guarded: Served) -> None:
    assert guarded.send("GET", "/").status == 200
    assert guarded.send("POST", ASK, {}).status == 404
    assert guarded.send("POST", "/pacticipants", {"name": "x"}).status == 401


@pytest.mark.parametrize("guarded", [{"public_heartbeat": True}], indirect=True)
def test_public_heartbeat(guarded: Served) -> None:
    assert guarded.send("GET", "/diagnostic/status/heartbeat").status == 200
    assert guarded.send("GET", "/diagnostic/status/dependencies").status == 401


def test_log_lines_are_json_without_secrets(guarded: Served, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        guarded.ok("POST", "/pacticipants", {"name": "x"}, WRITER)
    formatter = log.JsonFormatter()
    lines = [json.loads(formatter.format(record)) for record in caplog.records]
    access = [line for line in lines if line["logger"] == "broker_lite.access"]
    assert [(line["method"], line["path"], line["status"]) for line in access] == [("POST", "/pacticipants", 201)]
    text = json.dumps(lines)
    assert "wpass" not in text
    assert base64.b64encode(b"rw:wpass").decode() not in text
