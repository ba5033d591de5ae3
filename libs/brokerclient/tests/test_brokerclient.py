"""The client against recorded answers of the reference broker, served on a real loopback socket.

A real socket, because what matters is what goes over the wire: raw encoded paths, headers, redirects that are not
followed, bodies that are cut.
"""

import json
import socket
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerclient import (
    BasicAuth,
    BearerAuth,
    BrokerClient,
    BrokerError,
    BrokerUnauthorized,
    BrokerUnavailable,
    Conflict,
    InvalidRequest,
    NotFound,
    ProtocolError,
    links,
)

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "exchanges.json").read_text())
Answer = tuple[int, dict[str, str], bytes]


class Broker:
    """A loopback server that answers what a test tells it to and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer | Callable[[BaseHTTPRequestHandler], None]] = []
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        broker = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                broker.requests.append(
                    (self.command, self.path, dict(self.headers), json.loads(body) if body else None)
                )
                answer = broker.answers.pop(0)
                if callable(answer):
                    answer(self)
                    return
                status, headers, content = answer
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def recorded(self, *names: str) -> None:
        for name in names:
            exchange = RECORDED[name]
            body = exchange["body"]
            content = b"" if body in (None, "") else json.dumps(body).encode()
            self.answers.append((exchange["status"], {"Content-Type": exchange["content_type"]}, content))

    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append((status, {k.replace("_", "-"): v for k, v in headers.items()}, content))


@pytest.fixture
def broker() -> Iterator[Broker]:
    server = Broker()
    yield server
    server.server.shutdown()
    server.server.server_close()
    assert not server.answers, "the client asked less than the test expected"


@pytest.fixture
def client(broker: Broker) -> Iterator[BrokerClient]:
    with BrokerClient(broker.url, timeout=5) as it:
        yield it


# -- reading what the reference broker says


def test_pacts_for_verification_reads_consumer_sha_and_moves_links_to_our_host(
    broker: Broker, client: BrokerClient
) -> None:
    broker.recorded("for_verification")
    found = client.pacts_for_verification("PV", selectors=[{"mainBranch": True}], provider_branch="main")
    assert (found[0].consumer, found[0].content_sha, found[0].pending) == (
        "CA",
        "60bcaf47d190e01bf812f4516d96eefcb435ecf8",
        True,
    )
    assert found[0].short_description == "latest from main branch"
    recorded = RECORDED["for_verification"]["body"]["_embedded"]["pacts"][0]["_links"]["self"]["href"]
    assert found[0].url == recorded.replace("http://BROKER", broker.url)
    assert "/metadata/" in found[0].url
    method, path, headers, body = broker.requests[0]
    assert (method, path) == ("POST", "/pacts/provider/PV/for-verification")
    assert headers["Accept"] == "application/hal+json, application/json"
    assert body == {
        "consumerVersionSelectors": [{"mainBranch": True}],
        "includePendingStatus": False,
        "providerVersionBranch": "main",
    }


def test_unknown_provider_has_no_pacts(broker: Broker, client: BrokerClient) -> None:
    broker.recorded("provider_unknown")
    assert client.pacts_for_verification("A", selectors=[]) == []


def test_verification_results_asks_once_and_reads_the_sha_behind_metadata(broker: Broker, client: BrokerClient) -> None:
    broker.recorded("matrix_two_given")
    (found,) = client.verification_results("PV", "pv1")
    assert (found.consumer, found.consumer_version, found.success) == ("CA", "3", True)
    assert found.content_sha == "60bcaf47d190e01bf812f4516d96eefcb435ecf8"
    assert found.url.startswith(broker.url + "/pacts/provider/PV/")
    assert parse_qsl(urlsplit(broker.requests[0][1]).query) == [
        ("q[][pacticipant]", "PV"),
        ("q[][version]", "pv1"),
        ("latestby", "cvpv"),
        ("success[]", "true"),
        ("success[]", "false"),
        ("limit", "1000"),
    ]


def test_verification_results_skips_rows_of_other_versions_and_without_result(
    broker: Broker, client: BrokerClient
) -> None:
    broker.recorded("matrix_mixed")
    assert [(r.consumer_version, r.success) for r in client.verification_results("PV", "pv4")] == [("2", False)]


def test_verification_results_of_an_unknown_provider_are_none_but_other_complaints_are_heard(
    broker: Broker, client: BrokerClient
) -> None:
    broker.answer(400, {"errors": ["Pacticipant X not found"]})
    broker.answer(404, {"error": "No pacticipant with name 'X' found"})
    assert client.verification_results("X", "1") == []
    broker.answer(400, {"errors": ["The limit must be 1 or greater."]})
    broker.answer(200, {"name": "X"})
    with pytest.raises(InvalidRequest, match="limit"):
        client.verification_results("X", "1")


def test_verification_results_asks_for_more_when_the_answer_is_cut(
    broker: Broker, client: BrokerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokerclient.client._MATRIX_LIMITS", (1, 3))
    broker.recorded("matrix_two_given", "matrix_two_given")
    assert len(client.verification_results("PV", "pv1")) == 1
    assert [dict(parse_qsl(urlsplit(r[1]).query))["limit"] for r in broker.requests] == ["1", "3"]


def test_can_i_deploy_asks_as_the_command_line_does_and_tells_missing_from_failed(
    broker: Broker, client: BrokerClient
) -> None:
    broker.recorded("can_i_deploy_missing")
    answer = client.can_i_deploy("PV", "pv1", environment="production", ignore=["X Y"])
    assert answer.deployable is None
    assert answer.unknown == 1
    assert answer.reason.startswith("There is no verified pact")
    assert answer.rows[0].success is None
    assert answer.rows[0].content_sha is None
    assert parse_qsl(urlsplit(broker.requests[0][1]).query)[2:5] == [
        ("ignore[][pacticipant]", "X Y"),
        ("latestby", "cvpv"),
        ("environment", "production"),
    ]


def test_publish_sends_all_contracts_at_once_and_names_their_urls(broker: Broker, client: BrokerClient) -> None:
    broker.recorded("publish")
    pact = {"consumer": {"name": "shop"}, "provider": {"name": "orders"}, "interactions": [], "metadata": {"n": "é"}}
    answer = client.publish_contracts("shop", "1.0.0", [pact], branch="main", build_url="http://ci/1")
    assert answer.pacts[0].provider == "orders"
    assert answer.pacts[0].url == f"{broker.url}/pacts/provider/orders/consumer/shop/version/1.0.0"
    assert answer.notices[0].text == "Created shop version 1.0.0 with branch main and tags dev"
    body = broker.requests[0][3]
    assert json.loads(b64decode(body["contracts"][0].pop("content"), validate=True)) == pact
    assert body["contracts"] == [
        {
            "consumerName": "shop",
            "providerName": "orders",
            "specification": "pact",
            "contentType": "application/json",
        }
    ]
    assert (body["branch"], body["buildUrl"]) == ("main", "http://ci/1")


def test_versions_environments_and_deployments(broker: Broker, client: BrokerClient) -> None:
    broker.recorded("version", "environments", "currently_deployed", "record_deployment", "undeploy", "latest_pacts")
    version = client.version("orders", "p2")
    assert version is not None
    assert [(b.name, b.latest) for b in version.branches] == [("main", False)]
    production, test = client.environments()
    assert (production.name, production.production, test.name, test.production) == ("production", True, "test", False)
    deployed = client.currently_deployed(production.uuid, "orders")
    assert [(d.version, d.application_instance) for d in deployed] == [("p4", None), ("p1", "blue")]
    assert client.record_deployment("orders", "p2", production.uuid).version == "p2"
    assert client.record_undeployment(deployed[1].uuid).currently_deployed is False
    latest = client.latest_pacts()
    assert [(p.consumer, p.consumer_version, p.provider) for p in latest] == [
        ("shop", "1.0.0", "billing"),
        ("shop", "1.0.1", "orders"),
    ]
    assert latest[0].url == f"{broker.url}/pacts/provider/billing/consumer/shop/version/1.0.0"


def test_verification_result_detail_and_publication(broker: Broker, client: BrokerClient) -> None:
    broker.recorded("result", "result_published", "result_invalid")
    detail = client.verification_result("http://elsewhere/pacts/x/verification-results/1")
    assert (detail.success, detail.provider_version) == (True, "1")
    again = client.publish_verification_result(
        "http://elsewhere/a/verification-results", provider_version="10", success=True
    )
    assert again.test_results == ({"interactionId": "x", "success": True},)
    with pytest.raises(InvalidRequest) as caught:
        client.publish_verification_result("/a", provider_version="", success=True)
    assert caught.value.errors == ("success: is missing", "providerApplicationVersion: is missing")


def test_webhooks(broker: Broker, client: BrokerClient) -> None:
    broker.recorded("webhook_put", "webhook")
    broker.answer(404, {"error": "The requested document was not found on this server."})
    broker.answer(204)
    broker.answer(404, {"error": "gone"})
    definition = {"description": "created by PUT", "request": {"method": "POST", "url": "http://x"}}
    put = client.put_webhook("696c5f93-1b7f-44bc-8d03-59440fcaa9a0", definition)
    assert put.uuid == "696c5f93-1b7f-44bc-8d03-59440fcaa9a0"
    assert broker.requests[0][3] == definition
    found = client.webhook("JppVmjrP8OhgQ7GcfzTOEw")
    assert found is not None
    assert found.enabled
    assert found.definition["request"]["headers"]["authorization"] == "**********"
    assert client.webhook("nothing-of-that-kind") is None
    assert client.delete_webhook("JppVmjrP8OhgQ7GcfzTOEw") is True
    assert client.delete_webhook("JppVmjrP8OhgQ7GcfzTOEw") is False


def test_ensure_methods_change_only_what_differs(broker: Broker, client: BrokerClient) -> None:
    broker.answer(404, {"error": "no"})
    broker.answer(201, {"name": "p"})  # somebody created it first: 201, and nothing of ours was taken
    broker.recorded("pacticipant")
    assert client.ensure_pacticipant("p", main_branch="main").main_branch == "main"
    assert [r[0] for r in broker.requests] == ["GET", "POST", "PATCH"]
    assert broker.requests[2][2]["Content-Type"] == "application/merge-patch+json"
    broker.answer(200, {"name": "p", "mainBranch": "trunk"})
    assert client.ensure_pacticipant("p", main_branch="main").main_branch == "trunk", "somebody's choice"
    assert len(broker.requests) == 4
    broker.recorded("environments")
    assert client.ensure_environment("test").name == "test"
    broker.answer(200, {"_embedded": {"environments": []}})
    broker.answer(400, {"errors": {"name": ["already exists"]}})
    broker.recorded("environments")
    assert client.ensure_environment("production").production is True


def test_check_accepts_a_broker_and_nothing_else(broker: Broker, client: BrokerClient) -> None:
    broker.recorded("index")
    client.check()
    broker.answer(200, {"_links": {"self": {"href": "/"}}})
    with pytest.raises(ProtocolError, match="not a Pact Broker"):
        client.check()
    broker.answer(200, b"<html>hello</html>")
    with pytest.raises(ProtocolError, match="check the broker's URL"):
        client.check()


# -- errors


@pytest.mark.parametrize(
    ("name", "auth", "kind", "says"),
    [
        ("unauthorized", None, BrokerUnauthorized, "none are configured"),
        ("unauthorized", BasicAuth("rw", "hidden-secret"), BrokerUnauthorized, "user name and password"),
        ("bearer_refused", BearerAuth("hidden-secret"), BrokerUnauthorized, "bearer token"),
        ("provider_unknown", None, NotFound, "No provider with name 'A' found"),
        ("server_error", None, BrokerUnavailable, "An error has occurred"),
        ("publish_invalid", None, InvalidRequest, "contentType must be one of"),
    ],
)
def test_each_answer_becomes_its_error_with_one_readable_sentence(
    broker: Broker, name: str, auth: BasicAuth | BearerAuth | None, kind: type[BrokerError], says: str
) -> None:
    broker.recorded(name)
    with BrokerClient(broker.url, auth=auth) as client, pytest.raises(BrokerError) as caught:
        client.get_pact("/anything")
    assert type(caught.value) is kind
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hidden-secret" not in str(caught.value) + repr(auth) + repr(caught.value.__dict__)


def test_a_wrong_url_is_not_taken_for_an_empty_broker(broker: Broker, client: BrokerClient) -> None:
    broker.answer(404, b"<html>nothing here</html>")
    with pytest.raises(ProtocolError, match="check the broker's URL"):
        client.pacts_for_verification("users", selectors=[])


def test_conflict_carries_the_brokers_diff(broker: Broker, client: BrokerClient) -> None:
    broker.recorded("publish_conflict")
    with pytest.raises(Conflict) as caught:
        client.publish_contracts("M", "1", [{"provider": {"name": "N"}}])
    assert "Cannot change the content of the pact for M version 1 and provider N" in str(caught.value)
    assert '-      "description": "i1",\n+      "description": "i2",' in caught.value.text


def test_too_busy_says_when_to_come_back(broker: Broker, client: BrokerClient) -> None:
    broker.answer(429, None, Retry_After="7")
    with pytest.raises(BrokerUnavailable) as caught:
        client.environments()
    assert (caught.value.status, caught.value.retry_after, caught.value.retryable) == (429, 7.0, True)


def test_refused_connection_is_unavailable_without_object_addresses() -> None:
    with socket.socket() as bound:  # bound, not listening: nobody else can take the port meanwhile
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with BrokerClient(f"http://127.0.0.1:{port}") as client, pytest.raises(BrokerUnavailable) as caught:
            client.check()
    assert str(caught.value) == f"The broker at http://127.0.0.1:{port} cannot be reached: connection refused."


def test_silent_broker_times_out_once(broker: Broker) -> None:
    done = threading.Event()

    def stay_silent(_: BaseHTTPRequestHandler) -> None:
        done.wait(10)

    broker.answers.append(stay_silent)
    with BrokerClient(broker.url, timeout=0.2) as client, pytest.raises(BrokerUnavailable, match="in time"):
        client.check()
    done.set()
    assert len(broker.requests) == 1


def test_reset_connection_is_tried_again_for_reading_only(broker: Broker, client: BrokerClient) -> None:
    def hang_up(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    broker.answers.append(hang_up)
    broker.recorded("index")
    client.check()
    broker.answers.append(hang_up)
    with pytest.raises(BrokerUnavailable):
        client.ensure_branch_version("p", "main", "1")
    assert [r[0] for r in broker.requests] == ["GET", "GET", "PUT"]


def test_bodies_are_bounded(broker: Broker) -> None:
    broker.answer(200, b'{"a": "' + b"x" * 2000 + b'"}')
    with (
        BrokerClient(broker.url, max_body_bytes=1000) as client,
        pytest.raises(ProtocolError, match="larger than 1000 bytes"),
    ):
        client.get_pact("/p")


@pytest.mark.parametrize("token", ["s3cret\r\nX: y", "s3cret\x00", "s3cret€"])
def test_a_token_that_no_header_can_carry_is_said_to_be_so_and_not_repeated(broker: Broker, token: str) -> None:
    with BrokerClient(broker.url, auth=BearerAuth(token)) as client, pytest.raises(BrokerUnauthorized) as caught:
        client.check()
    assert "s3cret" not in repr(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert broker.requests == []


def test_redirects_lead_nowhere_else(broker: Broker, client: BrokerClient) -> None:
    broker.answer(302, None, Location="http://127.0.0.1:1/other")
    with pytest.raises(ProtocolError, match=r"redirects GET / to http://127\.0\.0\.1:1/other"):
        client.check()
    broker.answer(301, None, Location="/moved")
    broker.recorded("index")
    client.check()
    assert broker.requests[-1][1] == "/moved"
    broker.answer(301, None, Location="/moved")
    with pytest.raises(ProtocolError, match="redirects PUT"):
        client.ensure_branch_version("p", "main", "1")


def test_deeply_nested_json_is_not_a_crash(broker: Broker, client: BrokerClient) -> None:
    broker.answer(200, b"[" * 200_000)
    with pytest.raises(ProtocolError):
        client.get_pact("/p")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "broker",
        "ftp://x",
        "http://",
        "http://user:hidden-secret@h",
        "http://h:99999",
        "http://h/?a=b",
        "http://[::",
    ],
)
def test_unusable_base_urls_are_refused_with_a_hint(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        BrokerClient(url)
    assert "hidden-secret" not in str(caught.value)


# -- links and names


@given(st.text(min_size=1).filter(lambda name: name.strip() and name not in {".", ".."}))
def test_any_name_survives_the_way_into_a_link_and_back(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    href = links.path("/pacts/provider/{}/consumer/{}/pact-version/{}", name, name, "0" * 40)
    assert href.count("/") == 7
    assert links.parse_pact_link("http://any" + href + "/metadata/abc_-/verification-results/7") == links.PactLink(
        name, name, "0" * 40
    )


def test_names_arrive_encoded_on_the_wire(broker: Broker, client: BrokerClient) -> None:
    broker.answer(200, {})
    client.ensure_branch_version("naïve app", "/feat/a+b%2F", "1.0+build 7")
    raw = broker.requests[0][1]
    assert raw == "/pacticipants/na%C3%AFve%20app/branches/%2Ffeat%2Fa%2Bb%252F/versions/1.0%2Bbuild%207"
    assert [unquote(part) for part in raw.split("/")[2::2]] == ["naïve app", "/feat/a+b%2F", "1.0+build 7"]


@pytest.mark.parametrize("name", ["", " ", ".", ".."])
def test_names_that_a_path_would_swallow_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        links.path("/pacticipants/{}", name)


@pytest.mark.parametrize("base", ["/prefix", "/prefix/"])
@pytest.mark.parametrize("href", ["http://other/pacts/x?y=%2F", "https://o/prefix/pacts/x?y=%2F", "/pacts/x?y=%2F"])
def test_links_stay_below_the_configured_prefix(broker: Broker, base: str, href: str) -> None:
    broker.answer(200, {})
    with BrokerClient(broker.url + base) as client:
        client.get_pact(href)
        assert client.absolute(href) == f"{broker.url}/prefix/pacts/x?y=%2F"
    assert broker.requests[0][1] == "/prefix/pacts/x?y=%2F"


def test_credentials_go_with_every_request_and_netrc_is_not_read(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for auth in (None, BasicAuth("u", "pä:ss"), BearerAuth("tok")):
        broker.recorded("index")
        with BrokerClient(broker.url, auth=auth) as client:
            client.check()
    sent = [headers.get("Authorization") for _, _, headers, _ in broker.requests]
    assert sent == [None, "Basic dTpww6Q6c3M=", "Bearer tok"]


def test_the_environments_proxy_counts_unless_the_broker_is_excepted(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with BrokerClient(broker.url) as client, pytest.raises(BrokerUnavailable):
        client.get_pact("/p")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    broker.answer(200, {})
    with BrokerClient(broker.url) as client:
        client.get_pact("/p")
