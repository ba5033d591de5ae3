"""The README names every route that is served, and every setting."""

import re
from pathlib import Path

import pytest

from broker_lite import config
from services.broker_lite.tests.support.not_equal import NOT_EQUAL
from services.broker_lite.tests.support.routes_table import pages, table

README = (Path(__file__).parents[1] / "README.md").read_text()
SOURCE = Path(config.__file__).read_text()


@pytest.mark.parametrize(("heading", "served"), [("Pages", pages()), ("Routes", table())])
def test_the_tables_name_what_is_served_and_nothing_else(heading: str, served: str) -> None:
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    shown = [line for line in section.splitlines() if line.startswith("|")]
    assert shown == served.splitlines(), (
        "Put the output of 'python -m services.broker_lite.tests.support.routes_table' into the README."
    )


def test_every_setting_is_in_the_readme() -> None:
    names = set(re.findall(r'read\.(?:text|words|flag|integer|integers)\(\s*"([A-Z_]+)"', SOURCE))
    names |= {name for pair in re.findall(r'read\.user\("([A-Z_]+)", "([A-Z_]+)"\)', SOURCE) for name in pair}
    assert len(names) > 20
    assert sorted(name for name in names if f"`{name}`" not in README) == []


def test_the_readme_says_how_many_exchanges_differ() -> None:
    assert f"the {len(NOT_EQUAL)} that differ" in README
