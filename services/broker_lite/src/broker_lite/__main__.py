"""``python -m broker_lite``: serve until told to stop; or copy everything into another broker."""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence

import httpx
import uvicorn

from broker_lite import config, copying, log
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the server, or copy.

    Returns:
        The exit code: 0 after a normal stop, or when everything was copied; 1 if something could not be copied; 78 for
        a configuration that cannot be used, 75 if the database or the other broker cannot be reached.
    """
    parser = argparse.ArgumentParser(
        prog="python -m broker_lite", description="A small server of the Pact Broker's API."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands; without any, serve")
    copier = commands.add_parser("copy-to", help="copy everything into another broker by its API", description=_COPY)
    copier.add_argument("url", help="base URL of the other broker")
    copier.add_argument("--username", help="user of the other broker")
    secret = copier.add_mutually_exclusive_group()
    secret.add_argument("--password-stdin", action="store_true", help="read that user's password from standard input")
    secret.add_argument("--token-stdin", action="store_true", help="read a bearer token from standard input")
    copier.add_argument("--into-filled", action="store_true", help="the other broker may hold something already")
    options = parser.parse_args(arguments)
    try:
        settings = config.from_environment(os.environ)
    except config.InvalidConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 78
    if options.command is None:
        log.configure(settings.log_level)
    try:
        store = Store(connect(settings.database_url))
        _migrate(store, settings.connect_retries)
    except StoreUnavailableError as error:
        sys.stderr.write(f"{error}\n")
        return 75
    try:
        if options.command is None:
            _serve(settings, store)
            return 0
        return _copy(store, options.url, _credentials(options, os.environ), into_filled=options.into_filled)
    finally:
        store.close()


_COPY = (
    "Tells everything that the database holds to another broker, by that broker's public API, and compares the "
    "matrices. The database is the one that the server's settings name. Credentials of the other broker may also be in "
    "the environment: TARGET_USERNAME and TARGET_PASSWORD, or TARGET_TOKEN."
)


def _credentials(options: argparse.Namespace, environ: Mapping[str, str]) -> tuple[str, str, str]:
    """Username, password and token for the other broker; empty where there are none."""
    username = options.username or environ.get("TARGET_USERNAME", "")
    password, token = environ.get("TARGET_PASSWORD", ""), environ.get("TARGET_TOKEN", "")
    if options.password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    if options.token_stdin:
        username, token = "", sys.stdin.readline().rstrip("\r\n")
    return username, password, token


def _copy(store: Store, url: str, credentials: tuple[str, str, str], *, into_filled: bool) -> int:
    username, password, token = credentials
    client = httpx.Client(
        base_url=url,
        auth=httpx.BasicAuth(username, password) if username else None,
        headers={"authorization": f"Bearer {token}"} if token and not username else None,
        timeout=60,
    )
    try:
        with client, store.transaction(writes=False) as session:
            report = copying.copy(
                session, copying.Target(client), lambda text: print(text, file=sys.stderr), into_filled=into_filled
            )
    except (copying.CopyError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        sys.stderr.write(f"{error}\n")
        return 75 if isinstance(error, copying.TargetUnavailableError) else 1
    print("\n".join(copying.summary(report)))
    return 1 if report.problems else 0


def _serve(settings: config.Settings, store: Store) -> None:
    # The server raises the signal that ended it once more after it has stopped in order: that was a normal stop.
    signal.signal(signal.SIGTERM, lambda *_: None)
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


if __name__ == "__main__":
    sys.exit(main())
