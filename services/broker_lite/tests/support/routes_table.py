"""The table of routes for the README, made from the code. Run as a module to print it."""

import inspect

from broker_lite import app


def table() -> str:
    """Markdown, one line per route."""
    lines = ["| method | path | what |", "|---|---|---|"]
    routes = [one for module in app._MODULES for one in module.routes.described]
    lines += [
        f"| {one.method} | `{one.path}` | {(inspect.getdoc(one.handler) or '').splitlines()[0]} |" for one in routes
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
