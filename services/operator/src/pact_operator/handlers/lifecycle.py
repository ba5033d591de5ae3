"""Start, log-in and probes."""

import os
from typing import Any

import kopf

from pact_operator.api import names


@kopf.on.login()
def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """Uses `KUBECONFIG` if it is set, else the Pod's service account: the same choice as the cluster adapter's."""
    if os.environ.get("KUBECONFIG"):
        return kopf.login_with_kubeconfig(**kwargs)
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


@kopf.on.startup()
async def startup(settings: kopf.OperatorSettings, memo: Any, **indexes: Any) -> None:
    """Sets kopf up so that it only watches, and gives the engine its indexes."""
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.persistence.finalizer = f"{names.GROUP}/kopf"
    settings.networking.request_timeout = 30.0
    settings.networking.connect_timeout = 10.0
    for group, plural in (("batch", "jobs"), ("", "pods")):
        settings.watching.label_selectors[group, "v1", plural] = names.LABEL_ROLE
    memo.snapshot.bind(**{name: indexes[name] for name in ("objects", "jobs", "pods", "deployments")})


@kopf.on.probe(id="secondsSinceLastLook")
async def last_look(memo: Any, **_: Any) -> float:
    """Seconds since a look last ended, or since the start."""
    seconds: float = memo.reconciler.seconds_since_last_look()
    return round(seconds, 1)
