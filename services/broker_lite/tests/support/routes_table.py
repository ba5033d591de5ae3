"""The tables of pages and routes for the README, made from the code. Run as a module to print them."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from broker_lite import app
from broker_lite.http import routes_pages

Described = tuple[str, str, Callable[..., Any]]


def table() -> str:
    """Markdown, one line per route of the API."""
    return _table((one.method, one.path, one.handler) for module in app._MODULES for one in module.routes.described)


def pages() -> str:
    """Markdown, one line per page."""
    return _table(routes_pages.pages.described)


def _table(described: Iterable[Described]) -> str:
    lines = ["| method | path | what |", "|---|---|---|"]
    lines += [
        f"| {method} | `{path}` | {(inspect.getdoc(handler) or '').splitlines()[0]} |"
        for method, path, handler in described
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(f"{pages()}\n\n{table()}")
