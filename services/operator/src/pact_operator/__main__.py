"""`python -m pact_operator`: exit code 0 after SIGTERM, 1 after a failure, 2 for bad settings."""

import asyncio
import logging
import os
import sys

from pythonjsonlogger.json import JsonFormatter

from pact_operator.handlers.operator import operate
from pact_operator.ports import ClusterError
from pact_operator.settings import OperatorSettings, SettingsError

logger = logging.getLogger("pact_operator")

_PLAIN = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def main() -> int:
    """Runs the operator until the process is told to end.

    Returns:
        The exit code.
    """
    try:
        settings = OperatorSettings.load(os.environ)
    except SettingsError as error:
        print(f"pact-operator: {error}", file=sys.stderr)
        return 2
    _log(settings)
    try:
        asyncio.run(operate(settings))
    except ClusterError as error:
        logger.error("%s", error)  # noqa: TRY400  (the sentence says it all)
        return 1
    except RuntimeError as error:
        logger.error("%s", error, exc_info=error.__cause__)  # noqa: TRY400  (the cause's trace is the one to see)
        return 1
    return 0


def _log(settings: OperatorSettings) -> None:
    handler = logging.StreamHandler()
    if settings.log_format == "json":
        handler.setFormatter(
            JsonFormatter(
                ["asctime", "levelname", "name", "message"],
                style=",",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            )
        )
    else:
        handler.setFormatter(logging.Formatter(_PLAIN))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    # These tell of every retry within a request; what comes of it is told once, by the look.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.getLogger().level))


if __name__ == "__main__":
    sys.exit(main())
