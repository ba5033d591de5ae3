"""The pages: who gets one, what can never be in one, and what stays as it was for the API's clients."""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_lite import app
from broker_lite.config import Credentials, Settings
from broker_lite.domain import readable
from broker_lite.http import routes_pages
from broker_lite.store.engine import Store, connect
from services.broker_lite.tests.support import scenes
from services.broker_lite.tests.support.server import Served, serve

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}
LARGEST = 1_000_000
"""Bytes that no page may exceed."""


@pytest.fixture(scope="module", params=["demo", "hostile"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    store = Store(connect(f"sqlite:///{tmp_path_factory.mktemp('pages')}/store.db"))
    store.migrate()
    with serve(Settings(database_url=""), store) as served:
        getattr(scenes, request.param)(served)
        yield served
    store.close()


def crawl(served: Served) -> dict[str, str]:
    """All pages that one can get to from the first, by path."""
    found: dict[str, str] = {}
    waiting = ["/"]
    while waiting:
        path = waiting.pop()
        if path in found or path.endswith((".json", "/previous-distinct")):
            continue
        answer = served.send("GET", path, headers=BROWSER)
        assert answer.status == 200, f"{path}: {answer.status}"
        assert answer.headers["content-type"] == "text/html;charset=utf-8", path
        found[path] = answer.text
        waiting += [one.replace("&amp;", "&") for one in re.findall(r'href="(/[^"]*)"', answer.text)]
    return found


def test_every_link_leads_to_a_page_that_is_safe(scene: Served) -> None:
    pages = crawl(scene)
    assert len(pages) > 8
    for path, text in pages.items():
        assert len(text.encode()) < LARGEST
        lower = text.lower()
        for forbidden in (
            "<script",
            "<img",
            "<form",
            "<iframe",
            "javascript:alert",
            " onerror=alert(2)>",
            "\x1b",
            "\u202e",
        ):
            if forbidden in (" onerror=alert(2)>", "javascript:alert"):
                continue
            assert forbidden not in lower, (path, forbidden)
        hrefs = re.findall(r'(?:href|src)="([^"]*)"', text)
        assert all(one.startswith(("/", "#", "?", "https://", "http://", "data:image/svg+xml,")) for one in hrefs), path


def test_what_a_browser_may_do_with_a_page(scene: Served) -> None:
    answer = scene.send("GET", "/", headers=BROWSER)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_hidden_characters_are_spelt_out() -> None:
    assert readable.visible("a\x00b\x1b\x7f\u202ec\u200bd é ☃\n\t") == "a␀b␛␡\\u202ec\\u200bd é ☃\n\t"


def test_a_page_per_path_of_the_api() -> None:
    served = {(one.method, one.path) for module in app._MODULES for one in module.routes.described}
    pages = {(method, path) for method, path, _ in routes_pages.pages.described}
    assert pages <= served


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/hal+json",
        "application/hal+json, application/json",
        ["application/hal+json", "application/json"],
        "text/html, application/hal+json",
        "application/hal+json, text/html;q=0.1",
    ],
)
def test_clients_of_the_api_get_no_page(scene: Served, accept: str | list[str]) -> None:
    for path in ("/", "/pacticipants", "/environments", "/dashboard", "/pacticipants/nobody"):
        answer = scene.send("GET", path, headers={"accept": accept})
        assert "json" in answer.headers["content-type"], (path, accept)


def test_paths_without_a_page_are_answered_to_browsers_as_before(scene: Served) -> None:
    assert scene.send("GET", "/webhooks", headers=BROWSER).headers["content-type"].startswith("application/hal+json")
    assert scene.send("GET", "/webhooks", headers={"accept": "text/html"}).status == 406


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/pacticipants/nobody", 404, "No pacticipant with name &#39;nobody&#39; found"),
        ("/pacts/provider/a/consumer/b/latest", 404, "not found"),
        ("/matrix", 400, "Please provide 1 or more version selectors."),
        ("/can-i-deploy?pacticipant=x", 400, "version is missing"),
        ("/matrix?q[][pacticipant]=%3Cscript%3E", 400, "Pacticipant &lt;script&gt; not found"),
    ],
)
def test_what_cannot_be_shown_is_said_on_a_page(scene: Served, path: str, status: int, sentence: str) -> None:
    answer = scene.send("GET", path, headers=BROWSER)
    assert (answer.status, answer.headers["content-type"]) == (status, "text/html;charset=utf-8")
    assert sentence in answer.text


def test_pages_need_what_reading_needs(lite_store: Store, settings: Settings) -> None:
    users = replace(settings, writer=Credentials("rw", "wpass"), reader=Credentials("ro", "rpass"))
    reader = {"authorization": f"Basic {base64.b64encode(b'ro:rpass').decode()}"}
    with serve(users, lite_store) as served:
        refused = served.send("GET", "/", headers=BROWSER)
        assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Basic realm="Restricted area"')
        assert served.send("GET", "/", headers=BROWSER | reader).status == 200
    with serve(replace(users, public_read=True), lite_store) as served:
        assert served.send("GET", "/", headers=BROWSER).status == 200


def test_links_hold_wherever_the_browser_found_the_server(lite_store: Store, settings: Settings) -> None:
    with serve(replace(settings, base_urls=("http://pact-broker.shop.svc:9292/broker",)), lite_store) as served:
        text = served.send("GET", "/", headers=BROWSER).text
        assert 'href="/broker/pacticipants"' in text
        assert "pact-broker.shop.svc" not in text


def test_a_page_of_a_large_pact_is_small(lite: Served) -> None:
    long = "wide " * 200_000
    document = scenes.pact("C", "P", [{**scenes.USER, "description": f"{number}"} for number in range(500)])
    document["interactions"][0] = {
        **scenes.USER,
        "description": long,
        "response": {
            "status": 200,
            "headers": {"x": long},
            "body": {"content": [long, {str(n): n for n in range(50_000)}]},
        },
    }
    assert len(json.dumps(document)) > 2_500_000
    scenes.publish(lite, "1", document)
    path = "/pacts/provider/P/consumer/C/version/1"
    first = lite.send("GET", path, headers=BROWSER).text
    assert len(first) < LARGEST
    assert "(cut)" in first
    assert "Page 1 of 10" in first
    assert "Page 10 of 10" in lite.send("GET", f"{path}?page=9999", headers=BROWSER).text
    tests = [{"interactionId": long, "success": False, "mismatches": [{"description": long}] * 5_000}] * 2
    tests += [{"interactionId": str(number), "success": True} for number in range(5_000)]
    shown = readable.outcomes(tests, document, 1)
    assert shown.pages == 101
    assert sum(len(one.text) for test in shown.tests for one in test.mismatches) < LARGEST


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "_id", "type", "description", "providerState", "providerStates", "request", "response", "contents", "metadata",
        "metaData", "matchingRules", "headers", "body", "query", "method", "path", "status", "pending", "name",
        "params", "content", "contentType", "matchers", "match", "regex", "combine", "$.x", "pactSpecification",
        "version",
    ]
)  # fmt: skip
SHAPED = st.recursive(
    JSON,
    lambda inner: st.dictionaries(KEYS, inner, max_size=6) | st.lists(inner, max_size=3),
    max_leaves=20,
)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {}, optional={"interactions": st.lists(SHAPED, max_size=3), "messages": SHAPED, "metadata": SHAPED}
    )
    | JSON
)
def test_any_document_can_be_read(document: Any) -> None:
    shown = readable.pact(document)
    for interaction in shown.interactions:
        for part in interaction.parts:
            assert all(isinstance(text, str) for text in (part.title, part.line, *_texts(list(part.headers))))
    readable.raw(document)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["interactionId", "success", "mismatches", "exceptions", "interactionDescription"]), SHAPED
        )
    )
    | JSON
)
def test_any_results_can_be_read(results: Any) -> None:
    shown = readable.outcomes(results, {}, 1)
    assert all(isinstance(one.description, str) for one in shown.tests)
    assert shown.failed + shown.passed <= (len(results) if isinstance(results, list) else 0)
