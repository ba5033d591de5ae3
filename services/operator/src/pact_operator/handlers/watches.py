"""Watch events: each is noted, and says where to look. Nothing is decided here, nothing is kept on the objects.

The handlers do not wait for anything, so that an object is in the index before anybody is told to look at it.
"""

from typing import Any

import kopf

from pact_operator.api import names
from pact_operator.core.facts import Key
from pact_operator.engine.snapshot import Body


@kopf.on.event(names.GROUP, names.VERSION, kopf.EVERYTHING)
async def object_changed(event: Any, body: Body, namespace: str | None, name: str, memo: Any, **_: Any) -> None:
    """One of our objects appeared, changed or went."""
    memo.snapshot.object_told(event)
    memo.reconciler.hint_object(Key(body["kind"], namespace or "", name), body)


@kopf.on.event("batch", "v1", "jobs", labels={names.LABEL_ROLE: kopf.PRESENT})
async def job_changed(event: Any, namespace: str | None, labels: Any, memo: Any, **_: Any) -> None:
    """A Job of ours appeared, changed or went."""
    memo.snapshot.job_told(event)
    memo.reconciler.hint_child(namespace or "", labels, "job")


@kopf.on.event("", "v1", "pods", labels={names.LABEL_ROLE: kopf.PRESENT})
async def pod_changed(event: Any, namespace: str | None, labels: Any, memo: Any, **_: Any) -> None:
    """A Pod of ours appeared, changed or went."""
    memo.snapshot.pod_told(event)
    memo.reconciler.hint_child(namespace or "", labels, "pod")


@kopf.on.event("apps", "v1", "deployments")
async def deployment_changed(event: Any, namespace: str | None, name: str, memo: Any, **_: Any) -> None:
    """A Deployment appeared, changed or went."""
    memo.snapshot.deployment_told(event)
    memo.reconciler.hint_workload(namespace or "", name)
