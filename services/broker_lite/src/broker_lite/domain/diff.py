"""What changed between two pacts, as text for people: only changed branches, with the way that leads to them."""

import json
from typing import Any

_MISSING = object()


def pact_diff(old: Any, new: Any) -> str:
    """A readable difference of two pacts; ids and metadata of the tools do not count."""
    lines: list[str] = []
    _walk("", _relevant(old), _relevant(new), 0, lines)
    return "\n".join(lines) if lines else "No differences"


def _relevant(pact: Any) -> Any:
    if isinstance(pact, dict):
        return {key: _relevant(value) for key, value in pact.items() if key not in ("_id", "createdAt", "_links")}
    if isinstance(pact, list):
        return [_relevant(value) for value in pact]
    return pact


def _walk(key: str, old: Any, new: Any, depth: int, lines: list[str]) -> None:
    if old == new:
        return
    indent = "  " * depth
    prefix = f"{json.dumps(key, ensure_ascii=False)}: " if key else ""
    if isinstance(old, dict) and isinstance(new, dict):
        lines.append(f" {indent}{prefix}{{")
        for name in dict.fromkeys((*old, *new)):
            _walk(name, old.get(name, _MISSING), new.get(name, _MISSING), depth + 1, lines)
        lines.append(f" {indent}}}")
    elif isinstance(old, list) and isinstance(new, list):
        lines.append(f" {indent}{prefix}[")
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else _MISSING
            after = new[index] if index < len(new) else _MISSING
            _walk("", before, after, depth + 1, lines)
        lines.append(f" {indent}]")
    else:
        for sign, value in (("-", old), ("+", new)):
            if value is not _MISSING:
                text = json.dumps(value, indent=2, ensure_ascii=False).split("\n")
                lines.append(f"{sign}{indent}{prefix}{text[0]}")
                lines.extend(f"{sign}{indent}{line}" for line in text[1:])
