"""Text from outside made fit for one line of a log or a status message."""

import re
import unicodedata

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def clean(text: str, limit: int = 400) -> str:
    """Make one line of printable text.

    Escape sequences, control and format characters (which could repaint a terminal or reverse the reading order)
    are dropped, white space collapsed, and what is longer than `limit` characters ends in `...`.
    """
    # Cutting first bounds the work on a text of any size; escapes can at most shorten what remains.
    text = _ANSI.sub("", text[: 8 * limit + 64])
    kept = "".join(" " if char.isspace() else char for char in text if char.isspace() or _printable(char))
    line = " ".join(kept.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def clean_block(text: str, limit: int = 4000) -> str:
    """Like `clean`, with its lines kept."""
    lines = text[: 2 * limit].splitlines()
    block = "\n".join(
        "".join(char for char in _ANSI.sub("", line).replace("\t", "    ") if _printable(char)).rstrip()
        for line in lines
    )
    return block if len(block) <= limit else block[: limit - 3] + "..."


def _printable(char: str) -> bool:
    return not unicodedata.category(char).startswith("C")
