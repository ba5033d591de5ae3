"""Times and durations on the wire: RFC 3339 in UTC with whole seconds, and `30s`-like durations."""

from datetime import UTC, datetime
from typing import Final

UNFINISHED_SECONDS: Final = 60.0
"""After which a run that has not ended is looked at without any hint: a Job may come and go unobserved."""

PODLESS_SECONDS: Final = 5.0
"""After which a Job without a Pod is looked at again: Kubernetes tells why only in Events, which nobody watches."""

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def rfc3339(seconds: float) -> str:
    """Renders seconds since the epoch as Kubernetes' `metav1.Time` does."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(text: str | None) -> float:
    """Reads an RFC 3339 time; 0.0 for none or for something else."""
    if not text:
        return 0.0
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def duration(text: str) -> float:
    """Reads a duration such as `30s`, `5m`, `1h` into seconds; the API's schema admits nothing else."""
    return float(text[:-1]) * _SECONDS[text[-1]]


def backoff(attempt: int) -> float:
    """Seconds to wait after a run that infrastructure spoilt: 30 s doubled per attempt, at most half an hour."""
    return float(min(30 * 2 ** max(0, min(attempt, 10)), 1800))
