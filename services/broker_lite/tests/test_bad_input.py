"""Whatever is sent: never an error of the server, and an answer that says what is wrong."""

import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode, checks
from schemathesis.core.result import Ok

from broker_lite import app
from broker_lite.config import Settings
from broker_lite.domain.webhook_rules import AllowLists
from broker_lite.http import openapi
from broker_lite.http.call import Described
from broker_lite.http.guard import MAX_HEADERS, MAX_TARGET
from broker_lite.store.engine import Store, connect
from services.broker_lite.tests.support.server import Answer, Served, contract, pact, publication, serve

ROUTES: list[Described] = [one for module in app._MODULES for one in module.routes.described]
# Webhooks may go nowhere here: a generated one must not leave this machine.
NOWHERE = AllowLists(hosts=("127.0.0.1",), schemes=("http",))


# --- what the description allows and forbids --------------------------------------------------------------------------


def _operations(segment: dict[str, Any]) -> list[schemathesis.APIOperation[Any, Any, Any, Any]]:
    """The described operations; names in paths are often those of things that there are, and else as given."""
    described = openapi.document(ROUTES, "http://localhost", secured=False)
    known = {"type": "string", "enum": ["C", "P", "1", "main", "t"]}
    for operation in (one for path in described["paths"].values() for one in path.values()):
        for parameter in operation["parameters"]:
            if parameter["in"] == "path":
                parameter["schema"] = {"anyOf": [known, segment]}
    schema = schemathesis.openapi.from_dict(described)
    found = list(schema.exclude(path="/test/error").get_all_operations())
    operations = [one.ok() for one in found if isinstance(one, Ok)]
    assert len(operations) == len(found), "part of the description cannot be understood"
    return operations


ALLOWED = _operations({"type": "string", "minLength": 1})
# Whatever a path holds is a name: no segment can be wrong by its type.
_CHECKED = {name for name, body in openapi.BODIES.items() if body.get("properties")} | {
    name for name, query in openapi.QUERIES.items() if "pageSize" in query
}
_CHECKED_LABELS = {f"{one.method} {one.path}" for one in ROUTES if one.handler.__name__ in _CHECKED}
FORBIDDEN = [one for one in _operations({}) if one.label in _CHECKED_LABELS]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    store = Store(connect(f"sqlite:///{tmp_path_factory.mktemp('generated')}/store.db"))
    with serve(Settings(database_url="", allow_lists=NOWHERE), store) as served:
        served.publish("C", "1", "P", branch="main", tags=["t"])
        served.verify("C", "P", served.sha("C", "1", "P"), "1")
        yield served
    store.close()


def _send_generated(
    served: Served, operation: schemathesis.APIOperation[Any, Any, Any, Any], mode: GenerationMode, number: int
) -> None:
    @settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(
            base_url=served.url,
            headers={"accept": "*/*"},
            checks=[
                checks.not_a_server_error,
                checks.status_code_conformance,
                checks.content_type_conformance,
                checks.response_schema_conformance,
                checks.negative_data_rejection,
            ],
            timeout=30,
        )

    send()


@pytest.mark.parametrize("operation", ALLOWED, ids=lambda one: one.label)
def test_what_the_description_allows(filled: Served, operation: schemathesis.APIOperation[Any, Any, Any, Any]) -> None:
    _send_generated(filled, operation, GenerationMode.POSITIVE, 4)


@pytest.mark.parametrize("operation", FORBIDDEN, ids=lambda one: one.label)
def test_what_the_description_forbids(filled: Served, operation: schemathesis.APIOperation[Any, Any, Any, Any]) -> None:
    """It is refused with a status of the client's errors, in one of their shapes."""
    _send_generated(filled, operation, GenerationMode.NEGATIVE, 10)


def test_there_is_much_to_forbid() -> None:
    assert len(FORBIDDEN) > 20


def test_the_description_names_every_route(filled: Served) -> None:
    described = filled.ok("GET", "/openapi.json", headers={"accept": "*/*"})
    named = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert named == {(one.method, one.path) for one in ROUTES}
    assert described["servers"] == [{"url": filled.url}]


def test_every_body_is_described() -> None:
    assert {one.handler.__name__ for one in ROUTES if one.consumes is not None} == openapi.BODIES.keys()
    assert openapi.QUERIES.keys() <= {one.handler.__name__ for one in ROUTES}


# --- names that a URL minds, in every segment of every route ----------------------------------------------------------

HARD_NAMES = {"mixed": "/b c+d%2F%ü☃?q#;=&", "dots": "..", "words": "/latest/versions"}


class World:
    """A store in which everything is named by one hard name."""

    def __init__(self, served: Served, name: str) -> None:
        self.served = served
        # A name of dots alone stands for everything at once: anything before it would make it an easy one.
        words = ("consumer", "provider", "number", "branch", "tag", "label")
        self.names = {word: name if name == ".." else f"{word}{name}" for word in words}
        self.fill()

    def encoded(self, word: str) -> str:
        return quote(self.names[word], safe="")

    def fill(self) -> None:
        """Make everything that routes need; what is there already stays."""
        ok, names = self.served.ok, self.names
        consumer, provider, number = (self.encoded(word) for word in ("consumer", "provider", "number"))
        for word in ("consumer", "provider"):
            ok("POST", "/pacticipants", {"name": names[word]})
            ok("PUT", f"/pacticipants/{self.encoded(word)}/labels/{self.encoded('label')}", {})
        body = publication(names["consumer"], names["number"], names["provider"], branch=names["branch"])
        ok("POST", "/contracts/publish", body | {"tags": [names["tag"]]})
        earlier = f"/pacts/provider/{provider}/consumer/{consumer}/version/{number}"
        shown = ok("GET", earlier)
        self.sha = shown["_links"]["pb:pact-version"]["name"]
        offered = ok("POST", f"/pacts/provider/{provider}/for-verification", {})["_embedded"]["pacts"]
        href = next(one["_links"]["self"]["href"] for one in offered)
        found = re.search("/metadata/([^/]+)", href)
        assert found is not None
        self.metadata = found[1]
        result = {"success": True, "providerApplicationVersion": names["number"]}
        posted = ok("POST", f"{href.removeprefix(self.served.url)}/verification-results", result)
        self.result = posted["_links"]["self"]["href"].rpartition("/")[2]
        for owner in ("consumer", "provider"):
            path = f"/pacticipants/{self.encoded(owner)}/branches/{self.encoded('branch')}/versions/{number}"
            ok("PUT", path, {})
            ok("PUT", f"/pacticipants/{self.encoded(owner)}/versions/{number}/tags/{self.encoded('tag')}", {})
        self._fill_environment(f"/pacticipants/{consumer}/versions/{number}")

    def _fill_environment(self, version: str) -> None:
        ok = self.served.ok
        listed = ok("GET", "/environments")["_embedded"]["environments"]
        made = listed[0] if listed else ok("POST", "/environments", {"name": "e/+ü", "production": False})
        self.environment = made["uuid"]
        self.deployed = ok("POST", f"{version}/deployed-versions/environment/{self.environment}", {})["uuid"]
        self.released = ok("POST", f"{version}/released-versions/environment/{self.environment}", {})["uuid"]
        self.webhook = "webhook-of-hard-names"
        sent = {"method": "POST", "url": "http://127.0.0.1:1/refused"}
        events = [{"name": "contract_published"}, {"name": "provider_verification_published"}]
        ok("PUT", f"/webhooks/{self.webhook}", {"events": events, "request": sent})
        consumer, provider = self.names["consumer"], self.names["provider"]
        again = publication(consumer, self.names["number"], provider, branch=self.names["branch"])
        ok("POST", "/contracts/publish", again)
        pair = f"/pacts/provider/{self.encoded('provider')}/consumer/{self.encoded('consumer')}"
        status = ok("GET", f"{pair}/webhooks/status")
        logs = status["_embedded"]["triggeredWebhooks"][0]["_links"]["pb:logs"]["href"]
        self.triggered = logs.split("/")[-2]

    def path(self, route: Described) -> str:
        """A route's path with the names in it."""
        values = {
            **{word: self.encoded(word) for word in self.names},
            "pacticipant": self.encoded("consumer"),
            "version": self.encoded("number"),
            "target": self.encoded("tag"),
            "sha": self.sha,
            "other": self.sha,
            "metadata": self.metadata,
            "environment": quote("e/+ü", safe="") if "can-i-deploy" in route.path else self.environment,
            "uuid": self._uuid(route.path),
        }
        if "verification-results/{number}" in route.path:
            values["number"] = self.result
        path = route.path.format_map(values)
        query = {
            "/matrix": f"?q[][pacticipant]={self.encoded('consumer')}&q[][version]={self.encoded('number')}",
            "/can-i-deploy": f"?pacticipant={self.encoded('consumer')}&version={self.encoded('number')}"
            f"&to={self.encoded('tag')}",
        }
        return path + query.get(path, "")

    def _uuid(self, path: str) -> str:
        kinds = {
            "/webhooks/": self.webhook,
            "/deployed-versions/": self.deployed,
            "/released-versions/": self.released,
            "/triggered-webhooks/": self.triggered,
        }
        return next((uuid for prefix, uuid in kinds.items() if path.startswith(prefix)), "")

    def body(self, route: Described) -> Any:
        """What a route that writes is sent."""
        names = self.names
        hook = {"request": {"method": "POST", "url": "http://127.0.0.1:1/refused"}}
        place = {"name": "e/+ü", "production": False}
        bodies: dict[str, Any] = {
            "create_pacticipant": {"name": names["consumer"]},
            "create_environment": {"name": "new/+ü", "production": False},
            "replace_environment": place,
            "publish_contracts": publication(names["consumer"], names["number"], names["provider"])
            | {"contracts": [contract(names["consumer"], names["provider"])]},
            "put_pact": pact(names["consumer"], names["provider"]),
            "merge_pact": pact(names["consumer"], names["provider"]),
            "publish_verification_result": {"success": True, "providerApplicationVersion": names["number"]},
            "update_deployed_version": {"currentlyDeployed": False},
            "update_released_version": {"currentlySupported": False},
        }
        for name in ("create_webhook", "create_scoped_webhook", "put_webhook", "execute_unsaved_webhook"):
            bodies[name] = hook
        return bodies.get(route.handler.__name__, {})

    def send(self, route: Described) -> Answer:
        """Ask a route."""
        kind = next((one for one in route.consumes or () if one), "application/json")
        body = None if route.consumes is None else self.body(route)
        return self.served.send(route.method, self.path(route), body, {"accept": "*/*", "content-type": kind})


_NOTHING_THERE = {"get_previous_distinct_pact", "get_latest_untagged_pact"}
"""Nothing earlier and nothing untagged was published."""


@pytest.mark.parametrize("name", HARD_NAMES.values(), ids=HARD_NAMES)
def test_hard_names_in_every_segment_of_every_route(lite_store: Store, name: str) -> None:
    with serve(Settings(database_url="", allow_lists=NOWHERE), lite_store) as served:
        world = World(served, name)
        found: dict[str, int] = {}
        for route in sorted(ROUTES, key=lambda one: ("GET", "POST", "PUT", "PATCH", "DELETE").index(one.method)):
            if route.handler.__name__ == "provoke_error":
                continue
            if route.method == "DELETE":
                world.fill()
            answer = world.send(route)
            wanted = (404,) if route.handler.__name__ in _NOTHING_THERE else (200, 201, 204, 307)
            if answer.status not in wanted:
                found[f"{route.method} {world.path(route)}: {answer.text[:200]}"] = answer.status
        assert found == {}


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_long_paths_are_refused(lite: Served) -> None:
    assert lite.send("GET", "/pacticipants/" + "x" * 20_000).status == 404
    for path in ("/pacticipants/" + "x" * MAX_TARGET, "/matrix?q[][pacticipant]=" + "x" * MAX_TARGET):
        answer = lite.send("GET", path)
        assert (answer.status, str(MAX_TARGET) in answer.body["error"]) == (414, True)


def test_many_headers_are_refused(lite: Served) -> None:
    answer = lite.send("GET", "/", headers={f"x-{number}": "x" for number in range(MAX_HEADERS + 1)})
    assert (answer.status, list(answer.body)) == (431, ["error"])


def test_a_head_without_end_is_cut_off(lite: Served) -> None:
    """A client that sends headers for ever is not listened to for ever."""
    with socket.create_connection(("127.0.0.1", lite.port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx-long: ")
        answered = b""
        try:
            for _ in range(1000):
                connection.sendall(b"x" * 10_000)
            answered = connection.recv(1000)
        except ConnectionError:
            pass
        assert answered == b"" or answered.startswith(b"HTTP/1.1 4")
    assert lite.send("GET", "/").status == 200


@pytest.mark.parametrize("number", ["²", "--5", "9" * 5000, "1e3", " 1", "0x1", "१"])
@pytest.mark.parametrize(
    "path", ["/pacticipants?pageSize=", "/integrations?page=", "/matrix?q[][pacticipant]=C&limit="]
)
def test_numbers_that_are_none(lite: Served, path: str, number: str) -> None:
    answer = lite.send("GET", path + quote(number))
    assert (answer.status, list(answer.body)) == (400, ["errors"])
