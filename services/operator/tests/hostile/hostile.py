"""What hostile input looks like, and what may come of it."""

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

from pact_operator.api import names
from pact_operator.core.actions import Plan
from pact_operator.core.conditions import MAX_MESSAGE

LONG = 64 * 1024
MAX_STATUS = 1024 * 1024
"""Well below what the API server takes (1.5 MiB for a whole object), in bytes of JSON."""

nasty_text = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "",
            ".",
            "..",
            "\x00",
            "a\nb",
            "\x1b[31mred\x1b[0m",
            "\u202egnp.exe",
            "a\u2028b",
            "$(PATH)",
            "{version}",
            "%2e%2e%2f",
            "x" * LONG,
            "é" * LONG,
            "0001-01-01T00:00:00",
            "9999-12-31T23:59:59",
            "true",
        ]
    ),
)
json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**30), 10**30),
        st.floats(allow_nan=False, allow_infinity=False),
        nasty_text,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(nasty_text, inner, max_size=4)),
    max_leaves=8,
)

CONTAINER = {"name": "provider", "image": "users:{version}", "env": [{"name": "A", "value": "b"}]}
TEMPLATE = {
    "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
    "spec": {
        "containers": [CONTAINER],
        "initContainers": [CONTAINER],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "securityContext": {"runAsUser": 1},
    },
}
RUN = {
    "activeDeadlineSeconds": 60,
    "infraRetries": 1,
    "maxConcurrent": 2,
    "resources": {"limits": {"memory": "1Gi"}},
    "labels": {"a": "b"},
    "annotations": {"c": "d"},
}
TARGET = {"ephemeral": {"template": TEMPLATE, "port": 8080, "readinessPath": "/healthz"}}
CONDITION = {
    "type": "Ready",
    "status": "False",
    "reason": "JobFailed",
    "message": "no",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
SPECS: Mapping[str, dict[str, Any]] = {
    names.BROKER: {
        "url": "http://broker",
        "auth": {"readSecretRef": {"name": "read"}, "writeSecretRef": {"name": "write"}},
        "caSecretRef": {"name": "ca", "key": "ca.crt"},
        "pollInterval": "30s",
        "environment": {"name": "test", "displayName": "Test", "production": False},
        "webhook": {"enabled": True},
        "suspend": False,
    },
    names.CONSUMER: {
        "brokerRef": {"name": "broker"},
        "pacticipant": "web",
        "version": {"fromWorkload": {"name": "web", "container": "c"}},
        "branch": "main",
        "template": TEMPLATE,
        "run": RUN,
    },
    names.PROVIDER: {
        "brokerRef": {"name": "broker"},
        "pacticipant": "users",
        "version": {"value": "1"},
        "branch": "main",
        "target": TARGET,
        "providerStates": {"path": "/states"},
        "messagePath": "/messages",
        "selectors": [{"mainBranch": True}],
        "enablePending": True,
        "includeWipPactsSince": "2026-01-01",
        "run": RUN,
        "rerun": "now",
    },
    names.VERIFICATION: {
        "brokerRef": {"name": "broker"},
        "pacticipant": "users",
        "providerVersion": "1",
        "target": TARGET,
        "pacts": [{"consumer": "web", "contentSha": "a1", "url": "http://broker/pacts/a1", "pending": False}],
        "publishResults": True,
        "attempt": 0,
        "run": RUN,
    },
}
STATUSES: Mapping[str, dict[str, Any]] = {
    names.BROKER: {"observedGeneration": 1, "conditions": [CONDITION]},
    names.CONSUMER: {
        "observedGeneration": 1,
        "conditions": [CONDITION],
        "version": "1",
        "run": {"jobName": "web-x", "attempt": 1, "finishedAt": "2026-01-01T00:00:00Z"},
        "pacts": [{"provider": "users", "interactions": 1, "url": "http://broker/pacts/1"}],
    },
    names.PROVIDER: {
        "observedGeneration": 1,
        "conditions": [CONDITION],
        "version": "1",
        "verified": 0,
        "owed": 0,
        "failed": 1,
        "contracts": [
            {"consumer": "web", "providerVersion": "1", "contentSha": "a1", "state": "Failed", "reason": "JobFailed"}
        ],
    },
    names.VERIFICATION: {
        "observedGeneration": 1,
        "conditions": [{**CONDITION, "type": "Succeeded"}],
        "jobName": "users-x",
        "startTime": "2026-01-01T00:00:00Z",
        "pacts": [{"consumer": "web", "contentSha": "a1", "outcome": "Failed", "interactions": 1, "failed": 1}],
    },
}


def body(kind: str, **more: Any) -> dict[str, Any]:
    """A whole object of a kind, with every field of note."""
    meta = {
        "name": "it",
        "namespace": "team",
        "uid": "uid",
        "generation": 2,
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {names.LABEL_PROVIDER: "users"},
        "annotations": {},
    }
    made = {"apiVersion": names.API_VERSION, "kind": kind, "metadata": meta, "spec": SPECS[kind]}
    return {**copy.deepcopy({**made, "status": STATUSES[kind]}), **more}


def paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something is in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*above, key)
        yield from paths(item, (*above, key))


@st.composite
def bodies(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """Objects of a kind with up to three parts of spec or status replaced by any JSON, or removed."""
    made = body(kind)
    for _ in range(draw(st.integers(0, 3))):
        found = [path for path in paths(made) if path[0] in ("spec", "status")]
        if not found:
            break
        path = draw(st.sampled_from(found))
        place = made
        for key in path[:-1]:
            place = place[key]
        if draw(st.booleans()):
            place[path[-1]] = draw(json_values)
        else:
            del place[path[-1]]
    return made


def assert_harmless(plan: Plan) -> None:
    """A status that the API server can take and a terminal can show; Events likewise."""
    for event in plan.events:
        assert len(event.message) <= MAX_MESSAGE
        assert event.message.isprintable()
    if plan.status is None:
        return
    written = json.dumps(plan.status, allow_nan=False, ensure_ascii=False).encode()
    assert len(written) <= MAX_STATUS
    for text in _texts(plan.status):
        assert text.isprintable(), repr(text[:100])
    for condition in plan.status.get("conditions", ()):
        assert len(condition["message"]) <= MAX_MESSAGE
    for number in _numbers(plan.status):
        assert abs(number) < 2**63, "the API server's integers have 64 bits"
    keys = [(c["consumer"], c["providerVersion"], c["contentSha"]) for c in plan.status.get("contracts", ())]
    assert len(keys) == len(set(keys)), "the API server refuses a list map with a key twice"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, (int, float)):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(item)
