"""``python -m broker_lite``: serve until told to stop."""

import logging
import os
import signal
import sys
import time

import uvicorn

from broker_lite import config, log
from broker_lite.app import create_app
from broker_lite.http.guard import MAX_HEAD
from broker_lite.store.engine import Store, StoreUnavailableError, connect

logger = logging.getLogger("broker_lite")


_LONGEST_PAUSE = 5.0
"""Seconds: a database that starts beside this server is there within a few of them."""


def _migrate(store: Store, retries: int) -> None:
    """Bring the tables to the current form once the database is there; it may be starting, too."""
    for attempt in range(retries):
        try:
            store.migrate()
        except StoreUnavailableError as error:
            pause = min(0.5 * 2**attempt, _LONGEST_PAUSE)
            logger.warning("%s; trying again in %g seconds (%d of %d)", error, pause, attempt + 1, retries)
            time.sleep(pause)
        else:
            return
    store.migrate()


def main() -> int:
    """Start the server.

    Returns:
        The exit code: 0 after a normal stop, 78 for a configuration that cannot be used, 75 if the database cannot be
        reached.
    """
    try:
        settings = config.from_environment(os.environ)
    except config.InvalidConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 78
    log.configure(settings.log_level)
    try:
        store = Store(connect(settings.database_url))
        _migrate(store, settings.connect_retries)
    except StoreUnavailableError as error:
        sys.stderr.write(f"{error}\n")
        return 75
    # The server raises the signal that ended it once more after it has stopped in order: that was a normal stop.
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        uvicorn.run(
            create_app(settings, store),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=20,
            h11_max_incomplete_event_size=MAX_HEAD,
        )
    finally:
        store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
