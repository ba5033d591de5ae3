"""Matching of a response by a pact of specification 2: equality, ``type`` and ``regex`` rules, extra keys allowed."""

import re
from typing import Any

Rules = dict[str, dict[str, Any]]
_TOKEN = re.compile(r"\.([A-Za-z_][\w\-]*)|\['([^']+)'\]|\[(\d+|\*)\]")


def _parse(path: str) -> tuple[str, ...]:
    return tuple(next(filter(None, match.groups())) for match in _TOKEN.finditer(path))


def _rule(rules: dict[tuple[str, ...], dict[str, Any]], path: tuple[str, ...]) -> tuple[dict[str, Any] | None, bool]:
    """The most specific rule for a path, and whether it is for exactly this path."""
    best: tuple[int, int] | None = None
    found: dict[str, Any] | None = None
    for pattern, rule in rules.items():
        if len(pattern) > len(path):
            continue
        if all(one in ("*", other) for one, other in zip(pattern, path, strict=False)):
            weight = (len(pattern), sum(one != "*" for one in pattern))
            if best is None or weight > best:
                best, found = weight, rule
    return found, best is not None and best[0] == len(path)


def mismatches(expected: dict[str, Any], got: dict[str, Any], rules: Rules) -> list[str]:
    """Where an answer (an object with headers and body) does not match; empty if it does."""
    parsed = {_parse(path): rule for path, rule in rules.items()}
    found: list[str] = []
    for part, value in expected.items():
        if part == "headers":
            for name, text in value.items():
                found += _header(name, text, got["headers"].get(name), parsed)
        else:
            found += _match((part,), value, got.get(part), parsed)
    return found


def _header(name: str, wanted: str, got: str | None, rules: dict[tuple[str, ...], dict[str, Any]]) -> list[str]:
    by_case = {tuple(one.lower() for one in path): rule for path, rule in rules.items()}
    rule, _ = _rule(by_case, ("headers", name))
    if got is None:
        return [f"header {name} is missing"]
    if rule is not None and "regex" in rule:
        pattern = re.sub(r"^\(\?-mix:(.*)\)$", r"\1", rule["regex"])
        return [] if re.search(pattern, got) else [f"header {name}: {got!r} does not match {pattern}"]
    same = re.sub(r"\s", "", wanted).lower() == re.sub(r"\s", "", got).lower()
    return [] if same else [f"header {name}: {got!r} is not {wanted!r}"]


def _match(path: tuple[str, ...], wanted: Any, got: Any, rules: dict[tuple[str, ...], dict[str, Any]]) -> list[str]:
    where = ".".join(path)
    rule, exact = _rule(rules, path)
    if rule is not None and "regex" in rule and exact:
        text = got if isinstance(got, str) else str(got)
        return [] if re.search(rule["regex"], text) else [f"{where}: {got!r} does not match {rule['regex']}"]
    by_type = rule is not None and rule.get("match") == "type"
    if isinstance(wanted, dict):
        if not isinstance(got, dict):
            return [f"{where}: {got!r} is not an object"]
        found = [f"{where}.{key} is missing" for key in wanted if key not in got]
        return found + [
            text for key, value in wanted.items() if key in got for text in _match((*path, key), value, got[key], rules)
        ]
    if isinstance(wanted, list):
        return _match_list(path, wanted, got, rules, by_type=by_type, least=(rule or {}).get("min") if exact else None)
    if by_type:
        same = isinstance(got, bool) == isinstance(wanted, bool) and (
            isinstance(got, type(wanted)) or (isinstance(got, int | float) and isinstance(wanted, int | float))
        )
        return [] if same else [f"{where}: {got!r} is not of the type of {wanted!r}"]
    same = wanted == got and isinstance(got, bool) == isinstance(wanted, bool)
    return [] if same else [f"{where}: {got!r} is not {wanted!r}"]


def _match_list(
    path: tuple[str, ...],
    wanted: list[Any],
    got: Any,
    rules: dict[tuple[str, ...], dict[str, Any]],
    *,
    by_type: bool,
    least: int | None,
) -> list[str]:
    where = ".".join(path)
    if not isinstance(got, list):
        return [f"{where}: {got!r} is not a list"]
    if least is not None and len(got) < least:
        return [f"{where}: {len(got)} items, at least {least} wanted"]
    if not by_type and len(got) != len(wanted):
        return [f"{where}: {len(got)} items, {len(wanted)} wanted"]
    if not wanted:
        return []
    return [
        text
        for index, item in enumerate(got)
        for text in _match((*path, str(index)), wanted[min(index, len(wanted) - 1)], item, rules)
    ]
