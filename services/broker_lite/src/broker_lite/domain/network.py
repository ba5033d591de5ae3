"""Who is connected with whom, as the table that network diagrams are drawn from."""

import csv
import io
from collections.abc import Sequence

Node = tuple[int, str]
"""Id and name of a pacticipant."""
Edge = tuple[Node, Node]
"""A consumer and its provider."""


def connected(edges: Sequence[Edge], start: int, most: int | None = None) -> list[Edge]:
    """The edges that can be reached from one pacticipant.

    Args:
        edges: all consumers with their providers.
        start: id of the pacticipant to begin with.
        most: look no further once this many pacticipants are found.
    """
    known = {start}
    while most is None or len(known) < most:
        reached = {node[0] for edge in edges if known & {node[0] for node in edge} for node in edge}
        if reached <= known:
            break
        known |= reached
    return [edge for edge in edges if {node[0] for node in edge} <= known]


def table(edges: Sequence[Edge]) -> str:
    """One line of CSV for each pacticipant: id, name, 1, 1, 0, position, then the ids of its providers, then zeros."""
    lines: dict[int, list[int | str]] = {}
    for consumer, provider in edges:
        for node in (consumer, provider):
            if node[0] not in lines:
                lines[node[0]] = [*node, 1, 1, 0, len(lines) + 1]
        lines[consumer[0]].append(provider[0])
    width = max(map(len, lines.values()), default=0)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([*line, *[0] * (width - len(line))] for line in lines.values())
    return text.getvalue()
