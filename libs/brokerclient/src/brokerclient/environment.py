"""How to reach the broker, from the environment variables that all Pact tools share."""

from collections.abc import Mapping
from dataclasses import dataclass

from brokerclient.client import BrokerClient
from brokerclient.errors import InvalidRequest
from brokerclient.models import BasicAuth, BearerAuth
from brokerclient.transport import checked_base_url


@dataclass(frozen=True, slots=True)
class BrokerAccess:
    """Where the broker is and how it lets us in; safe to print."""

    base_url: str
    auth: BasicAuth | BearerAuth | None
    ca_file: str | None

    def client(self, *, user_agent: str) -> BrokerClient:
        """Open a client; `user_agent` names the caller in the broker's log."""
        return BrokerClient(self.base_url, auth=self.auth, ca_file=self.ca_file, user_agent=user_agent)


def broker_access(env: Mapping[str, str], *, ca_file: str | None = None) -> BrokerAccess:
    """Read `PACT_BROKER_BASE_URL` and `PACT_BROKER_USERNAME` + `_PASSWORD` or `PACT_BROKER_TOKEN` (none: anonymous).

    Args:
        env: The environment.
        ca_file: PEM file of the broker's CA.

    Raises:
        InvalidRequest: A variable is missing or excludes another; the sentence says which and repeats no value.
    """
    url = env.get("PACT_BROKER_BASE_URL", "").strip()
    token, username, password = (env.get(f"PACT_BROKER_{name}") or None for name in ("TOKEN", "USERNAME", "PASSWORD"))
    if not url:
        raise InvalidRequest("PACT_BROKER_BASE_URL is not set.")
    if token and (username or password):
        raise InvalidRequest("Set PACT_BROKER_TOKEN or PACT_BROKER_USERNAME and PACT_BROKER_PASSWORD, not both.")
    if password and not username:
        raise InvalidRequest("PACT_BROKER_PASSWORD is set without PACT_BROKER_USERNAME: set both or neither.")
    auth = BearerAuth(token) if token else BasicAuth(username, password or "") if username else None
    return BrokerAccess(checked_base_url(url)[0], auth, ca_file or None)
