"""Deterministic names of children: the same work always has the same name, so that it can only exist once."""

import base64
import hashlib
import json
import re
from typing import Any, Final

MAX_NAME: Final = 52
"""A Job's Pods append eleven characters at most to its name, and a Pod's host name has 63."""
MAX_LABEL: Final = 63


def digest(*parts: Any) -> str:
    """Ten characters (50 bits) that stand for the canonical JSON of the parts.

    Args:
        parts: anything that JSON can hold; order of keys in mappings does not count.

    Returns:
        Lower-case base 32, fit for DNS labels.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return base64.b32encode(hashlib.sha256(text.encode(errors="surrogatepass")).digest()).decode().lower()[:10]


def child_name(prefix: str, unique: str) -> str:
    """Joins a readable prefix, cut as needed, and the part that makes the name unique.

    Args:
        prefix: any text; what a DNS label cannot hold becomes `-`.
        unique: kept whole; at most 40 characters.

    Returns:
        A DNS label of at most `MAX_NAME` characters.
    """
    clean = re.sub(r"[^a-z0-9]+", "-", prefix.lower()).strip("-")
    room = MAX_NAME - len(unique) - 1
    clean = clean[:room].rstrip("-")
    return f"{clean}-{unique}" if clean else f"x-{unique}"


def label_value(text: str) -> str:
    """Makes a label value of any text: as it is where that is allowed, else its digest.

    Args:
        text: such as the name of an object, which may be longer than a label value.

    Returns:
        At most `MAX_LABEL` characters that Kubernetes takes as a label value.
    """
    if len(text) <= MAX_LABEL and re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", text):
        return text
    return digest(text)
