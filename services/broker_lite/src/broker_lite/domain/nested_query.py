"""Query strings with nested keys: ``q[][pacticipant]=A&q[][version]=1`` is a list of objects.

The list is positional: a key that the last object already holds starts the next object, so the order of the
parameters carries meaning.
"""

import re
from typing import Any
from urllib.parse import quote_plus, unquote_plus

Params = dict[str, Any]
_KEY = re.compile(r"\[([^\[\]]*)\]")
MAX_PARAMETERS = 4096


class InvalidQueryError(ValueError):
    """A query string whose keys contradict one another, or with too many of them."""


def parse(query: str) -> Params:
    """Parse a query string into strings, lists and objects.

    Raises:
        InvalidQueryError: if one name is used both as a value and as a list or object.
    """
    result: Params = {}
    pairs = [pair for pair in query.split("&") if pair]
    if len(pairs) > MAX_PARAMETERS:
        raise InvalidQueryError(f"The query string has more than {MAX_PARAMETERS} parameters")
    for pair in pairs:
        key, _, value = pair.partition("=")
        name = unquote_plus(key)
        head = name.split("[", 1)[0]
        path = _KEY.findall(name[len(head) :])
        if head:
            _insert(result, head, path, unquote_plus(value) if "=" in pair else None)
    return result


def _insert(target: Params, head: str, path: list[str], value: str | None) -> None:
    if not path:
        target[head] = value
    elif path[0] == "":
        _append(_child(target, head, list), path[1:], value)
    else:
        _insert(_child(target, head, dict), path[0], path[1:], value)


def _append(items: list[Any], path: list[str], value: str | None) -> None:
    if not path:
        items.append(value)
        return
    if not items or not isinstance(items[-1], dict) or _holds(items[-1], path):
        items.append({})
    _insert(items[-1], path[0], path[1:], value)


def _holds(item: Params, path: list[str]) -> bool:
    if path[0] not in item:
        return False
    if len(path) == 1:
        return True
    inner = item[path[0]]
    return path[1] != "" and isinstance(inner, dict) and _holds(inner, path[1:])


def _child(target: Params, name: str, kind: type[Any]) -> Any:
    if name not in target:
        target[name] = kind()
    if not isinstance(target[name], kind):
        raise InvalidQueryError(f"Expected the query parameter '{name}' to be of one kind only")
    return target[name]


def build(pairs: list[tuple[str, str]]) -> str:
    """The query string of keys and values in the given order."""
    return "&".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in pairs)
