"""`python -m pact_operator`: exit code 0 after SIGTERM, 1 after a failure, 2 for bad settings."""

import asyncio
import logging
import os
import sys

from pact_operator import logs
from pact_operator.handlers.operator import operate
from pact_operator.ports import ClusterError
from pact_operator.settings import OperatorSettings, SettingsError

logger = logging.getLogger("pact_operator")


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
    logs.configure(settings.log_level, settings.log_format)
    try:
        asyncio.run(operate(settings))
    except ClusterError as error:
        logger.error("%s", error)  # noqa: TRY400  (the sentence says it all)
        return 1
    except RuntimeError as error:
        logger.error("%s", error, exc_info=error.__cause__)  # noqa: TRY400  (the cause's trace is the one to see)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
