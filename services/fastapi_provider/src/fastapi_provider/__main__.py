"""Serve the users API: `python -m fastapi_provider`.

One uvicorn process: users in memory and provider states live in it.
"""

import logging
import os
import sys

import uvicorn

from fastapi_provider.app import create_app


def main() -> None:
    """Listen on `HOST` (default 0.0.0.0) and `PORT` (default 8080; 0 = any free port, named in the log).

    Raises:
        SystemExit: 2 with a sentence if `PORT` is not a port or cannot be listened on.
    """
    host, port = os.environ.get("HOST", "0.0.0.0"), os.environ.get("PORT", "8080")  # noqa: S104 - a Pod's own address
    if not port.isdecimal() or int(port) > 65535:
        _refuse(f"PORT must be a number from 0 to 65535, not {port!r}.")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    server = uvicorn.Server(uvicorn.Config(create_app(), host=host, port=int(port), server_header=False))
    try:
        server.run()
    except SystemExit:
        if not server.started:  # uvicorn has said on the log what stood in the way
            _refuse(f"Cannot listen on {host}:{port}. Set HOST and PORT to a free address.")
        raise


def _refuse(sentence: str) -> None:
    sys.stderr.write(f"fastapi_provider: {sentence}\n")
    raise SystemExit(2)


if __name__ == "__main__":
    main()
