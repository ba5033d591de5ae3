"""A token that callers send, such as brokers with their hooks: a mounted Secret, which may be rotated at any time."""

import hashlib
import hmac
from pathlib import Path


class HookToken:
    """A token in a file.

    Args:
        path: the file; None if there is no token: then nobody gets in.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._value = ""

    def value(self) -> str:
        """The token, read anew if the file has changed; empty if there is none.

        A file that cannot be read right now (a mount being swapped) leaves the last token in force.
        """
        if self._path is None:
            return ""
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen != self._seen:
                self._value = self._path.read_text(encoding="utf-8").strip()
                self._seen = seen
        except (OSError, UnicodeDecodeError):
            pass
        return self._value

    def digest(self) -> str:
        """First 12 hex digits of the token's SHA-256: tells a rotation without telling the token."""
        value = self.value()
        return hashlib.sha256(value.encode()).hexdigest()[:12] if value else ""

    def matches(self, candidate: str) -> bool:
        """Whether a candidate is the token, in a time that says nothing about it."""
        value = self.value()
        return bool(value) and hmac.compare_digest(value.encode(), candidate.encode())
