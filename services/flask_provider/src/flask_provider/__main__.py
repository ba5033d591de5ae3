"""Serve the users API: `python -m flask_provider`.

Waitress serves it from one process with threads: little memory beside a verifier in a Job, nothing written
to disk, and one process is what users in memory and provider states need.
"""

import logging
import os
import signal
import sys

import waitress

from flask_provider.app import create_app


def main() -> None:
    """Listen on `HOST` (default 0.0.0.0) and `PORT` (default 8080; 0 = any free port, named in the log).

    Raises:
        SystemExit: 2 with a sentence if `PORT` is not a port or cannot be listened on.
    """
    host, port = os.environ.get("HOST", "0.0.0.0"), os.environ.get("PORT", "8080")  # noqa: S104 - a Pod's own address
    # The first process of a container ignores SIGTERM unless it says otherwise; waitress ends on SystemExit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if not port.isdecimal() or int(port) > 65535:
        _refuse(f"PORT must be a number from 0 to 65535, not {port!r}.")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        waitress.serve(create_app(), host=host, port=int(port), threads=4, ident=None)
    except (OSError, ValueError) as error:  # taken or forbidden; not an address at all
        _refuse(f"Cannot listen on {host}:{port} ({error}). Set HOST and PORT to a free address.")


def _refuse(sentence: str) -> None:
    sys.stderr.write(f"flask_provider: {sentence}\n")
    raise SystemExit(2)


if __name__ == "__main__":
    main()
