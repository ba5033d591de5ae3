"""Start, log-in and probes."""

import os
from typing import Any, Final

import kopf

from pact_operator.api import names

API_WAITS: Final = (1.0, 1.0, 2.0, 3.0, *(5.0,) * 60)
"""Seconds between two tries to reach the API server; after the last the process ends. An API server is away for some
minutes when its node is upgraded. A process that ended sooner would come back to nothing and end again, ever more
seldom: it could then be away for five minutes after the API server is back. No wait is long, so that the watches are
back soon."""


class NoEssence(kopf.DiffBaseStorage):
    """Nothing of an object is remembered: there are no handlers that ask what has changed.

    kopf takes three copies of every object to find out whether it has, handlers or not. With thousands of objects at
    the start that is most of what the start costs.
    """

    def build(self, *, body: Any, extra_fields: Any = None) -> kopf.BodyEssence:  # noqa: ARG002  (kopf names them)
        """Takes nothing of an object."""
        return kopf.BodyEssence()

    def fetch(self, *, body: Any) -> kopf.BodyEssence | None:  # noqa: ARG002
        """Knows nothing of an object."""
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Keeps nothing."""


@kopf.on.login()
def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """Uses `KUBECONFIG` if it is set, else the Pod's service account: the same choice as the cluster adapter's."""
    if os.environ.get("KUBECONFIG"):
        return kopf.login_with_kubeconfig(**kwargs)
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


@kopf.on.startup()
async def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Sets kopf up so that it only watches."""
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = NoEssence()
    settings.persistence.finalizer = f"{names.GROUP}/kopf"
    settings.networking.request_timeout = 30.0
    settings.networking.connect_timeout = 10.0
    settings.networking.error_backoffs = API_WAITS
    settings.watching.chunk_size = 100  # of a list, so that its JSON does not stand in memory as a whole
    for group, plural in (("batch", "jobs"), ("", "pods")):
        settings.watching.label_selectors[group, "v1", plural] = names.LABEL_ROLE


@kopf.on.probe(id="secondsSinceLastLook")
async def last_look(memo: Any, **_: Any) -> float:
    """Seconds since a look last ended, or since the start."""
    seconds: float = memo.reconciler.seconds_since_last_look()
    return round(seconds, 1)
