"""Debian's Chromium, without a window, driven over WebDriver: what a person's browser makes of a page."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

_MISSING = (
    "Chromium is not installed on this machine: run 'apt-get install chromium chromium-driver', or leave these tests "
    "out with -m 'not browser'."
)
PHONE = (390, 844)
DESK = (1280, 900)


class Browser:
    """A running browser with one page."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str, size: tuple[int, int] = DESK, *, dark: bool = False) -> None:
        """Load a page, on a screen of this size in CSS pixels."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(url)

    def complaints(self) -> list[str]:
        """What the browser wrote on its console since the last time: errors, refused resources, violated policies."""
        return [str(one["message"]) for one in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def script(self, text: str) -> Any:
        """The value of a JavaScript expression in the page (the page itself may run none)."""
        return self.driver.execute_script(f"return {text}")

    def text(self, selector: str) -> list[str]:
        """The visible texts of all elements that a CSS selector finds."""
        return [one.text for one in self.driver.find_elements("css selector", selector)]

    def links(self) -> list[str]:
        """Where the page's links lead."""
        found = self.script("[...document.querySelectorAll('a[href]')].map(one => one.href)")
        return list(dict.fromkeys(str(one) for one in found))

    def roles(self) -> list[tuple[str, str]]:
        """Role and name of everything that a screen reader meets, in order."""
        nodes = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        return [
            (str(node["role"]["value"]), str(node.get("name", {}).get("value", "")))
            for node in nodes
            if not node.get("ignored") and "role" in node
        ]


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Run a browser until the block ends."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next((found for found in map(shutil.which, names) if found), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.fail(_MISSING, pytrace=False)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.add_argument("--headless=new")
    options.add_argument("--disable-gpu")
    options.add_argument("--disable-dev-shm-usage")
    # Nothing of its own may leave the machine.
    options.add_argument("--disable-background-networking")
    options.add_argument("--no-proxy-server")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(running)
    finally:
        running.quit()
