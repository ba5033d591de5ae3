"""What a pact's link remembers about why the pact was selected.

A verification result is posted to a link below the one the pact was fetched from, so whatever is encoded here comes
back with the result. It is opaque to clients: JSON in URL-safe base64 without padding.
"""

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SelectedVersion:
    """One consumer version for which a pact was selected, and the tag that selected it."""

    number: str
    tag: str | None = None
    branch: str | None = None
    environment: str | None = None
    latest: bool = False


@dataclass(frozen=True)
class LinkMetadata:
    """The context of a pact link.

    Attributes:
        selected: the consumer versions that the pact was selected for.
        consumer_version: the version that the link names, where there are no selectors.
        tags: tags of that version at the time of the event (None: not recorded).
        wip: results published through the link are work in progress.
    """

    selected: tuple[SelectedVersion, ...] = field(default=())
    consumer_version: str | None = None
    tags: tuple[str, ...] | None = None
    wip: bool = False

    def encode(self) -> str:
        """The path segment; empty if there is nothing to remember."""
        document: dict[str, Any] = {}
        if self.selected:
            document["s"] = [
                {
                    key: value
                    for key, value in (
                        ("v", one.number),
                        ("t", one.tag),
                        ("b", one.branch),
                        ("e", one.environment),
                        ("l", one.latest),
                    )
                    if value
                }
                for one in self.selected
            ]
        if self.consumer_version is not None:
            document["v"] = self.consumer_version
        if self.tags is not None:
            document["t"] = list(self.tags)
        if self.wip:
            document["w"] = True
        if not document:
            return ""
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(segment: str | None) -> LinkMetadata:
    """Read a link's metadata; what cannot be read is no metadata, as links outlive their writers."""
    if not segment:
        return LinkMetadata()
    try:
        padded = segment + "=" * (-len(segment) % 4)
        document = json.loads(base64.urlsafe_b64decode(padded))
    except (binascii.Error, ValueError):
        return LinkMetadata()
    if not isinstance(document, dict):
        return LinkMetadata()
    selected = tuple(
        SelectedVersion(
            number=one["v"],
            tag=_text(one.get("t")),
            branch=_text(one.get("b")),
            environment=_text(one.get("e")),
            latest=one.get("l") is True,
        )
        for one in document.get("s") or []
        if isinstance(one, dict) and isinstance(one.get("v"), str)
    )
    tags = document.get("t")
    return LinkMetadata(
        selected=selected,
        consumer_version=_text(document.get("v")),
        tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else None,
        wip=document.get("w") is True,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
