"""The pages in a browser: on a phone and a desk, light and dark, and as a screen reader meets them."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker_lite.config import Settings
from broker_lite.http import pages
from broker_lite.store.engine import Store, connect
from services.broker_lite.tests.support import scenes
from services.broker_lite.tests.support.browser import PHONE, Browser, browser
from services.broker_lite.tests.support.server import Served, serve

pytestmark = pytest.mark.browser
PACT = "/pacts/provider/flask-provider/consumer/users-consumer/latest"
MATRIX = "/matrix/provider/flask-provider/consumer/users-consumer"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


def _served(folder: Path, scene: str) -> Iterator[Served]:
    store = Store(connect(f"sqlite:///{folder}/store.db"))
    store.migrate()
    with serve(Settings(database_url=""), store) as served:
        if scene:
            getattr(scenes, scene)(served)
        yield served
    store.close()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from _served(tmp_path_factory.mktemp("demo"), "demo")


@pytest.fixture(scope="module", params=["", "demo", "hostile"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from _served(tmp_path_factory.mktemp("scene"), request.param)


_OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
_LEVELS = "[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(one => Number(one.tagName[1]))"
_BARE = """[...document.querySelectorAll('table')].filter(one => !one.caption
    || [...one.querySelectorAll('th')].some(cell => !cell.scope)).length"""
_NAMELESS = "[...document.querySelectorAll('a')].filter(one => !(one.ariaLabel || one.textContent).trim()).length"


def test_every_page_fits_a_phone_and_has_an_order(chromium: Browser, scene: Served) -> None:
    seen: set[str] = set()
    waiting = ["/"]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        chromium.open(scene.url + path, PHONE, dark=len(seen) % 2 == 0)
        assert chromium.complaints() == [], path
        assert chromium.script(_OVERFLOW) == 0, path
        levels = chromium.script(_LEVELS)
        assert levels[0] == 1, path
        assert levels.count(1) == 1, path
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels)), (path, levels)
        assert chromium.script(_BARE) == 0, path
        assert chromium.script(_NAMELESS) == 0, path
        assert chromium.script("document.scripts.length") == 0, path
        assert chromium.script("document.documentElement.lang") == "en"
        for link in chromium.links():
            parts = urlsplit(link)
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            own = link.startswith(scene.url) and not target.endswith((".json", "/previous-distinct"))
            if own and target not in seen and target not in waiting:
                waiting.append(target)
    assert len(seen) > 2


def test_an_empty_broker_says_what_to_do(chromium: Browser, lite: Served) -> None:
    chromium.open(lite.url)
    assert chromium.text("h1") == ["Contracts"]
    assert "No pact has been published yet." in chromium.text("main p")


def test_the_contracts_and_how_they_stand(chromium: Browser, demo: Served) -> None:
    chromium.open(demo.url)
    rows = {tuple(row.splitlines()[0].split(" ")[:2]): row for row in chromium.text("tbody tr")}
    found = {key: re.search(r"[✓✗?] ?(.*)", row) for key, row in rows.items()}
    assert {key: one.group(1).split(" 1.")[0] if one else None for key, one in found.items()} == {
        ("reports", "archive"): "not verified none yet Pact, matrix",
        ("users-consumer", "flask-provider"): "failed, pending",
        ("users-consumer", "fastapi-provider"): "verified",
    }


def test_a_pact_is_read_with_what_did_not_match(chromium: Browser, demo: Served) -> None:
    chromium.open(demo.url + PACT)
    assert chromium.text("h1") == ["Pact between users-consumer and flask-provider"]
    first = chromium.text("article")[0]
    for text in (
        "a request for user 123",
        "failed",
        scenes.MISMATCH,
        "Given user 123 exists",
        "/users/123?expand=roles",
    ):
        assert text in first
    assert '"email": "alice@example.com"' in first
    assert chromium.text("article.failed h3") == ["a request for user 123", "a user was created"]
    # A matching rule is a click away, without any script.
    assert ".+@.+" not in first
    chromium.driver.find_element("css selector", "summary").click()
    assert "$.email: regex .+@.+" in chromium.text("article")[0]


def test_a_result_says_who_verified_and_what_failed(chromium: Browser, demo: Served) -> None:
    chromium.open(demo.url + MATRIX)
    chromium.driver.find_element("css selector", "a.status.bad").click()
    assert "flask-provider" in chromium.text("h1")[0]
    assert "Pact-Rust 1.4.7" in chromium.text("dl")[0]
    assert chromium.text("article h3") == ["a request for user 123", "a user was created"]
    assert "body $: " + scenes.MISMATCH in chromium.text(".mismatches li")[0]


def test_a_question_about_a_deployment_is_answered(chromium: Browser, demo: Served) -> None:
    chromium.open(demo.url + "/pacticipants/users-consumer/versions/1.1.0-9f1c22aa")
    chromium.driver.find_element("link text", "to demo").click()
    assert chromium.text("h1") == ["May users-consumer 1.1.0-9f1c22aa go to demo?"]
    assert chromium.text(".verdict strong") == ["? Not known yet"]
    assert "failed" in chromium.text(".verdict")[0]


def test_a_screen_reader_meets_tables_on_a_phone_too(chromium: Browser, demo: Served) -> None:
    chromium.open(demo.url, PHONE)
    roles = chromium.roles()
    words = [role for role, _ in roles]
    assert words.count("row") == 4
    assert words.count("columnheader") == 6
    assert words.count("rowheader") == 3
    assert ("main", "") in roles
    assert ("link", "Skip to the content") in roles
    names = {name for role, name in roles if role == "link"}
    assert {"Pact between reports and archive", "Matrix of reports and archive"} <= names


def test_the_keyboard_gets_past_the_header(chromium: Browser, demo: Served) -> None:
    chromium.open(demo.url)
    chromium.driver.switch_to.active_element.send_keys("\ue004")
    assert chromium.script("document.activeElement.className") == "skip"
    assert chromium.script("document.activeElement.getBoundingClientRect().left") >= 0


def test_markup_in_names_is_text(chromium: Browser, tmp_path: Path) -> None:
    for served in _served(tmp_path, "hostile"):
        chromium.open(served.url)
        assert "<b>Kunde</b>&amp;" in chromium.text("tbody th")
        chromium.driver.find_element("link text", "Pact").click()
        assert chromium.text("article h3")[0].startswith(scenes.HOSTILE)
        assert "\\u202egnorw\\u202c ␛[31m ␇" in chromium.text("article h3")[0]
        assert chromium.complaints() == []


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_can_be_read(scheme: int) -> None:
    block = re.findall(r":root \{(.*?)\}", pages._STYLE, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
    pairs = [(text, ground) for text in ("text", "soft", "link") for ground in ("ground", "raised")]
    pairs += [(kind, f"{kind}-ground") for kind in ("good", "bad", "pending", "unknown")]
    pairs += [("text", f"{kind}-ground") for kind in ("good", "bad", "unknown")]
    for text, ground in pairs:
        light, dark = sorted((_luminance(colours[text]), _luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)
