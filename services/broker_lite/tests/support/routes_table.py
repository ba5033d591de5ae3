"""The table of routes for the README, made from the code. Run as a module to print it."""

import inspect

from broker_lite import app


def table() -> str:
    """Markdown, one line per route."""
    lines = ["| method | path | what |", "|---|---|---|"]
    for module in app._MODULES:
        for method, path, handler in module.routes.described:
            lines.append(f"| {method} | `{path}` | {(inspect.getdoc(handler) or '').splitlines()[0]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
