"""pact-python's Verifier, asked about one pact file. The only module that imports pact."""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Before the import: the core would otherwise report its use to the internet.
os.environ["PACT_DO_NOT_TRACK"] = "true"

from pact import Verifier

from verifier.settings import Address

LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def verify(
    document: Mapping[str, Any],
    *,
    provider: str,
    address: Address,
    states_url: str | None,
    message_port: int | None,
    message_path: str | None,
    request_timeout: float,
) -> Mapping[str, Any]:
    """Replay a pact's interactions against the provider.

    The core writes a report of its own to file descriptor 1; who wants none sends that elsewhere.

    The core gets the pact as a file and publishes nothing: it publishes a provider that died as a broken contract,
    and a publication that failed it only logs. Both are decided by us, with all facts at hand.

    Args:
        document: The pact.
        provider: Pacticipant name of the provider.
        address: Where its API listens.
        states_url: Where provider states are set up, None to ignore them.
        message_port: Port of the message endpoint, on the provider's host.
        message_path: Path of the message endpoint, None if the pact has no messages.
        request_timeout: Seconds for one answer.

    Returns:
        The core's results; see `verifier.wording`.
    """
    with tempfile.TemporaryDirectory(prefix="pact-") as folder:
        file = Path(folder) / "pact.json"
        file.write_text(json.dumps(document), encoding="ascii")
        verifier = Verifier(provider, host=f"[{address.host}]" if ":" in address.host else address.host)
        verifier.add_transport(protocol="http", port=address.port, path=address.path or "/", scheme=address.scheme)
        if message_path is not None:
            verifier.add_transport(protocol="message", port=message_port, path=message_path, scheme=address.scheme)
        if states_url is not None:
            verifier.state_handler(states_url, body=True, teardown=True)
        verifier.set_request_timeout(int(request_timeout * 1000))
        verifier.set_coloured_output(enabled=False)
        verifier.add_source(file)
        # verify() raises the same bare RuntimeError whatever went wrong; the results tell it apart.
        with contextlib.suppress(RuntimeError):
            verifier.verify()
        return verifier.results
