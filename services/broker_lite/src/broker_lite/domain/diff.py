"""What changed between two pacts, as text for people: only changed branches, with the way that leads to them."""

import json
from typing import Any

_MISSING = object()


def pact_diff(old: Any, new: Any) -> str:
    """A readable difference of two pacts; ids and metadata of the tools do not count."""
    before, after = _relevant(old), _relevant(new)
    return "No differences" if before == after else "\n".join(_walk("", before, after, 0, ""))


def _relevant(pact: Any) -> Any:
    if isinstance(pact, dict):
        return {key: _relevant(value) for key, value in pact.items() if key not in ("_id", "createdAt", "_links")}
    if isinstance(pact, list):
        return [_relevant(value) for value in pact]
    return pact


def _walk(key: str, old: Any, new: Any, depth: int, comma: str) -> list[str]:
    indent = "  " * depth
    prefix = f"{json.dumps(key, ensure_ascii=False)}: " if key else ""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(name, old.get(name, _MISSING), new.get(name, _MISSING)) for name in dict.fromkeys((*old, *new))]
        return [f" {indent}{prefix}{{", *_children(pairs, depth), f" {indent}}}{comma}"]
    if isinstance(old, list) and isinstance(new, list):
        longest = range(max(len(old), len(new)))
        pairs = [("", old[i] if i < len(old) else _MISSING, new[i] if i < len(new) else _MISSING) for i in longest]
        return [f" {indent}{prefix}[", *_children(pairs, depth), f" {indent}]{comma}"]
    lines = []
    for sign, value in (("-", old), ("+", new)):
        if value is not _MISSING:
            text = json.dumps(value, indent=2, ensure_ascii=False).split("\n")
            text[-1] += comma
            lines += [f"{sign}{indent}{prefix}{text[0]}", *(f"{sign}{indent}{line}" for line in text[1:])]
    return lines


def _children(pairs: list[tuple[str, Any, Any]], depth: int) -> list[str]:
    changed = [one for one in pairs if one[1] != one[2]]
    lines: list[str] = []
    for position, (name, before, after) in enumerate(changed):
        comma = "," if position + 1 < len(changed) else ""
        lines += _walk(name, before, after, depth + 1, comma)
    return lines
