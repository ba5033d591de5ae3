"""Writes the table of values in each chart's README.md from the comments in its values.yaml.

A value is described by the comment above its key that starts with `# --` (the convention of helm-docs). Such a
comment above a mapping describes the mapping as a whole; without one, each key of the mapping has its own row.

    python charts/readme.py            write the tables
    python charts/readme.py --check    exit 1 and name the READMEs that are out of date
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

CHARTS = Path(__file__).resolve().parent
START = "<!-- values:start, written by charts/readme.py -->"
END = "<!-- values:end -->"


class ReadmeError(Exception):
    """A chart's files do not allow a table to be written; the message says what to change."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    key: str
    kind: str
    default: str
    description: str


def comment_above(lines: list[str], line: int) -> str | None:
    """Return the `# --` description that ends just above a line, or None.

    Args:
        lines: The file's lines.
        line: Zero-based number of the line of the key.
    """
    block: list[str] = []
    while line > 0 and lines[line - 1].strip().startswith("#"):
        line -= 1
        text = lines[line].strip().removeprefix("#").strip()
        block.insert(0, text)
        if text.startswith("-- "):
            block[0] = text.removeprefix("-- ")
            return " ".join(block)
    return None


def rows(values: Path) -> Iterator[Row]:
    """Yield a row for each value of a values.yaml.

    Raises:
        ReadmeError: A value has no description.
    """
    text = values.read_text(encoding="utf-8")
    lines = text.splitlines()
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise ReadmeError(f"{values}: expected a mapping at the top")
        yield from _rows(loader, values, lines, root, "")
    finally:
        loader.dispose()


def _rows(
    loader: yaml.SafeLoader, values: Path, lines: list[str], mapping: yaml.MappingNode, prefix: str
) -> Iterator[Row]:
    for key, node in mapping.value:
        name = f"{prefix}{key.value}"
        description = comment_above(lines, key.start_mark.line)
        if description is None and isinstance(node, yaml.MappingNode) and node.value:
            yield from _rows(loader, values, lines, node, f"{name}.")
            continue
        if description is None:
            raise ReadmeError(f"{values}:{key.start_mark.line + 1}: {name} has no `# --` comment above it")
        value = loader.construct_object(node, deep=True)
        yield Row(name, _kind(value), json.dumps(value), description)


def _kind(value: object) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "list", dict: "object"}
    return kinds.get(type(value), "any")


def table(values: Path) -> str:
    """Return the Markdown table of a values.yaml."""
    out = ["| Value | Type | Default | Meaning |", "|---|---|---|---|"]
    for row in rows(values):
        description = row.description.replace("|", "\\|")
        default = row.default.replace("|", "\\|")
        out.append(f"| `{row.key}` | {row.kind} | `{default}` | {description} |")
    return "\n".join(out)


def readme(chart: Path) -> str:
    """Return what a chart's README.md should say.

    Raises:
        ReadmeError: The README lacks the markers, or a value lacks its description.
    """
    path = chart / "README.md"
    text = path.read_text(encoding="utf-8")
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ReadmeError(f"{path}: the lines `{START}` and `{END}` must enclose the table of values")
    return f"{before}{START}\n{table(chart / 'values.yaml')}\n{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    """Write or check the tables; return the exit status."""
    parser = argparse.ArgumentParser(description="Writes the table of values in each chart's README.md.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a README is out of date")
    check = parser.parse_args(arguments).check
    stale = []
    try:
        for chart in sorted(path.parent for path in CHARTS.glob("*/Chart.yaml")):
            wanted = readme(chart)
            path = chart / "README.md"
            if path.read_text(encoding="utf-8") != wanted:
                stale.append(path.relative_to(CHARTS.parent).as_posix())
                if not check:
                    path.write_text(wanted, encoding="utf-8")
    except (ReadmeError, OSError, yaml.YAMLError) as error:
        print(error, file=sys.stderr)
        return 1
    if check and stale:
        print(f"Out of date: {', '.join(stale)}. Run: python charts/readme.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
