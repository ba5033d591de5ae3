"""Logs on stderr, for people or for machines."""

import json
import logging
from datetime import UTC, datetime
from typing import Final

_PLAIN: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_NOISY: Final = ("kopf.objects", "kopf.activities.probe", "aiohttp.access", "uvicorn.error")
"""They tell of every event, every probe, every request: at INFO that hides what matters."""


class JsonFormatter(logging.Formatter):
    """One JSON object per record. What libraries attach to records is left out: it is not made to be logged."""

    def format(self, record: logging.LogRecord) -> str:
        """Renders a record as one line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(level: str, form: str) -> None:
    """Sets logging up for the whole process.

    Args:
        level: name of the level.
        form: `json` or `plain`.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_PLAIN))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "DEBUG" else logging.WARNING)
    # It tells of every retry within a question; what comes of the question is told once, by the look.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
