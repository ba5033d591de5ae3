"""What the loop is about, for tests: objects, pacts, and the Pods that a kubelet would run."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from brokerclient import BrokerClient
from tests.support.apiserver import Api, eventually
from tests.support.broker import WRITER

GROUP = "pact-operator.dev/v1alpha1"
CONSUMER, PROVIDER = "users-consumer", "users-provider"
SECRET = "broker-credentials"
ROLE = "pact-operator.dev/role"


def manifest(kind: str, namespace: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """An object of ours."""
    return {
        "apiVersion": GROUP,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": dict(spec),
    }


async def make_broker(api: Api, namespace: str, url: str, **spec: Any) -> None:
    """Makes the PactBroker `broker` and its Secret. It is polled so rarely that only hints can be behind what happens,
    unless the test says otherwise."""
    username, password = WRITER
    await api.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace},
            "stringData": {"username": username, "password": password},
        }
    )
    auth = {"readSecretRef": {"name": SECRET}, "writeSecretRef": {"name": SECRET}}
    await api.create(
        manifest("PactBroker", namespace, "broker", {"url": url, "auth": auth, "pollInterval": "1h", **spec})
    )


async def make_provider(api: Api, namespace: str, version: Mapping[str, Any] | None = None, **spec: Any) -> None:
    """Makes the PactProvider `users`, started from its image for each run."""
    container = {"name": "provider", "image": "users:{version}", "ports": [{"containerPort": 8080}]}
    ephemeral = {"port": 8080, "readinessPath": "/healthz", "template": {"spec": {"containers": [container]}}}
    await api.create(
        manifest(
            "PactProvider",
            namespace,
            "users",
            {
                "brokerRef": {"name": "broker"},
                "pacticipant": PROVIDER,
                "version": version or {"value": "p1"},
                "branch": "main",
                "target": {"ephemeral": ephemeral},
                **spec,
            },
        )
    )


async def make_consumer(api: Api, namespace: str, version: str = "c1") -> None:
    """Makes the PactConsumer `web`."""
    template = {"spec": {"containers": [{"name": "tests", "image": "users-consumer:{version}"}]}}
    await api.create(
        manifest(
            "PactConsumer",
            namespace,
            "web",
            {
                "brokerRef": {"name": "broker"},
                "pacticipant": CONSUMER,
                "version": {"value": version},
                "branch": "main",
                "template": template,
            },
        )
    )


def publish(broker: BrokerClient, version: str = "c1", field: str = "name") -> None:
    """Publishes a pact of the consumer's main branch; another field makes another content."""
    broker.publish_contracts(
        CONSUMER,
        version,
        [
            {
                "consumer": {"name": CONSUMER},
                "provider": {"name": PROVIDER},
                "interactions": [
                    {
                        "description": "a user",
                        "request": {"method": "GET", "path": "/users/1"},
                        "response": {"status": 200, "body": {field: "Alice"}},
                    }
                ],
                "metadata": {"pactSpecification": {"version": "2.0.0"}},
            }
        ],
        branch="main",
    )


def verify(broker: BrokerClient, version: str = "p1", *, success: bool = True) -> None:
    """Publishes the result of every pact in scope, as a verifier does."""
    for pact in broker.pacts_for_verification(PROVIDER, selectors=[{"mainBranch": True}], provider_branch="main"):
        mismatch = {"attribute": "body", "identifier": "$.name", "description": "is missing"}
        test = {"interactionDescription": "a user", "success": success, "mismatches": [] if success else [mismatch]}
        link = broker.get_pact(pact.url)["_links"]["pb:publish-verification-results"]["href"]
        broker.publish_verification_result(link, provider_version=version, success=success, test_results=[test])


async def job_of(api: Api, namespace: str, role: str, *, but: str = "") -> dict[str, Any]:
    """Waits for a Job of a role (and of another name than `but`)."""

    async def ask() -> dict[str, Any] | None:
        found = await api.list("Job", namespace, f"{ROLE}={role}")
        return next((job for job in found if job["metadata"]["name"] != but), None)

    return await eventually(ask, f"a Job of the role {role}")


async def pod_of(api: Api, job: Mapping[str, Any]) -> dict[str, Any]:
    """Creates a Job's Pod from its template, as the Job controller does."""
    meta, template = job["metadata"], job["spec"]["template"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
    return await api.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{meta['name']}-pod",
                "namespace": meta["namespace"],
                "labels": template["metadata"]["labels"],
                "ownerReferences": [owner],
            },
            "spec": template["spec"],
        }
    )


async def end_pod(api: Api, pod: Mapping[str, Any], container: str, code: int, message: Mapping[str, Any]) -> None:
    """Writes into a Pod's status what a kubelet writes when its main container has ended."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    times = {"startedAt": pod["metadata"]["creationTimestamp"], "finishedAt": now}
    ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "message": json.dumps(message), **times}
    status = {"phase": "Succeeded" if code == 0 else "Failed", "containerStatuses": [_status(container, ended)]}
    meta = pod["metadata"]
    await api.patch("Pod", meta["namespace"], meta["name"], {"status": status}, "/status")


def _status(container: str, ended: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": container,
        "image": "image",
        "imageID": "id",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": dict(ended)},
    }


def verifier_says(outcome: str, sha: str, *, mismatch: str = "") -> dict[str, Any]:
    """A termination message of the verifier on one pact."""
    passed = outcome == "Passed"
    pact: dict[str, Any] = {
        "consumer": CONSUMER,
        "contentSha": sha,
        "outcome": "Passed" if passed else "Failed",
        "interactions": 1,
        "failed": 0 if passed else 1,
    }
    return {
        "schema": "pact-operator.dev/verifier/v1",
        "outcome": outcome,
        "reason": outcome,
        "message": "The verifier has spoken.",
        "provider": PROVIDER,
        "providerVersion": "p1",
        "published": True,
        "pacts": [pact | ({"mismatch": mismatch} if mismatch else {})],
        "durationSeconds": 1.0,
        "truncated": False,
    }


def publisher_says() -> dict[str, Any]:
    """A termination message of the publisher on one pact."""
    return {
        "schema": "pact-operator.dev/publisher/v1",
        "outcome": "Published",
        "reason": "Published",
        "message": "One pact is published.",
        "consumer": CONSUMER,
        "consumerVersion": "c1",
        "pacts": [{"provider": PROVIDER, "interactions": 1, "url": None}],
        "truncated": False,
    }
