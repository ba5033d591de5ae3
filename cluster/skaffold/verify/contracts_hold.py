"""The check of `skaffold verify`: the contracts of what was just deployed hold, say the objects and the broker.

It runs in the cluster, in the operator's image, and waits: for each PactConsumer to have published the version that
it names, for each PactProvider to be Ready for the version that its Deployment runs, and for the broker's matrix to
say the same of every pair of them that has a pact. Exit code 0: all hold; 1: not, and waiting cannot help; 2: not
within the time.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kubernetes import client, config, watch

from brokerclient import BasicAuth, BrokerClient, BrokerError
from pact_operator.api.names import GROUP, PLURALS, VERSION
from pact_operator.api.reasons import ADVICE, Reason

TIMEOUT_SECONDS = 570.0
"""Less than skaffold's own limit, so that the last state is told."""

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class State:
    """Where something stands: it holds, it may still come to hold, or waiting cannot help."""

    verdict: Literal["holds", "waits", "fails"]
    text: str


def judge(body: Body, wanted_version: str | None) -> State:
    """Judges a PactConsumer or a PactProvider by its status.

    Args:
        body: the object as the API server holds it.
        wanted_version: the version that it must speak of; None if that is not known yet.

    Returns:
        Its state. A status that speaks of another version, or of an older spec, says nothing.
    """
    name = f"{body['kind']} {body['metadata']['name']}"
    status = body.get("status") or {}
    ready = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), None)
    if wanted_version is None or ready is None:
        return State("waits", f"{name}: not looked at yet")
    if status.get("observedGeneration") != body["metadata"]["generation"] or status.get("version") != wanted_version:
        return State("waits", f"{name}: does not speak of {wanted_version[:12]} yet")
    text = f"{name} {wanted_version[:12]}: {ready['reason']}: {ready['message']}"
    if ready["status"] == "True":
        return State("holds", text)
    known = ready["reason"] in set(Reason)
    if ready["status"] == "False" and known and not ADVICE[Reason(ready["reason"])].retried:
        return State("fails", text)
    return State("waits", text)


def judge_pair(consumer: Body, provider: Body, deployable: bool | None) -> State:
    """Judges a pair by the broker's matrix.

    Args:
        consumer: the PactConsumer.
        provider: the PactProvider.
        deployable: what the matrix says of their versions; None: it lacks a result.
    """
    pair = f"broker: {consumer['spec']['pacticipant']} with {provider['spec']['pacticipant']}"
    if deployable is None:
        return State("waits", f"{pair}: no result yet")
    return State("holds", f"{pair}: verified") if deployable else State("fails", f"{pair}: verification failed")


def pairs(consumers: Sequence[Body], providers: Sequence[Body]) -> list[tuple[Body, Body]]:
    """Every consumer with every provider that it has published a pact for."""
    return [
        (consumer, provider)
        for consumer in consumers
        for provider in providers
        if provider["spec"]["pacticipant"] in {pact["provider"] for pact in consumer["status"].get("pacts") or ()}
    ]


def overall(consumers: Sequence[State], providers: Sequence[State], matrix: Sequence[State]) -> State:
    """The state of all together.

    A provider counts as failed only when nothing is under way any more: what a consumer is about to publish may be the
    very contract that the provider keeps.
    """
    if any(state.verdict == "fails" for state in consumers):
        return State("fails", "The pacts of a consumer cannot be published, and waiting does not help.")
    if any(state.verdict == "waits" for state in (*consumers, *providers, *matrix)) or not providers:
        return State("waits", "Not everything is verified yet.")
    if any(state.verdict == "fails" for state in (*providers, *matrix)):
        return State("fails", "A contract does not hold, and waiting does not help.")
    if not matrix:
        return State("fails", "No consumer here has a pact with a provider here: nothing was checked.")
    return State("holds", "All contracts hold, say the objects and the broker.")


class Check:
    """The check, with its connections."""

    def __init__(self, namespace: str) -> None:
        """Connects to the API server with the Pod's own token."""
        config.load_incluster_config()  # type: ignore[no-untyped-call]
        self._namespace = namespace
        self._objects: Any = client.CustomObjectsApi()
        self._apps: Any = client.AppsV1Api()

    def _list(self, kind: str) -> Any:
        return self._objects.list_namespaced_custom_object(GROUP, VERSION, self._namespace, PLURALS[kind])

    def bodies(self, kind: str) -> list[Body]:
        """The objects of a kind, each with its `kind`."""
        return [{**body, "kind": kind} for body in self._list(kind)["items"]]

    def wanted(self, body: Body) -> str | None:
        """The version that an object must speak of."""
        source = body["spec"]["version"]
        if "value" in source:
            return str(source["value"])
        found = self._apps.list_namespaced_deployment(self._namespace).items
        images = {d.metadata.name: d.spec.template.spec.containers[0].image for d in found}
        return images.get(source["fromWorkload"]["name"], "").rpartition(":")[2] or None

    def matrix(self, consumer: Body, provider: Body) -> State:
        """What the broker says of a pair."""
        brokers = {body["metadata"]["name"]: body["spec"]["url"] for body in self.bodies("PactBroker")}
        username = os.environ.get("PACT_BROKER_USERNAME")
        auth = BasicAuth(username, os.environ["PACT_BROKER_PASSWORD"]) if username else None
        selectors = [
            {"pacticipant": body["spec"]["pacticipant"], "version": body["status"]["version"]}
            for body in (consumer, provider)
        ]
        try:
            answer = BrokerClient(brokers[provider["spec"]["brokerRef"]["name"]], auth=auth).matrix(
                selectors, latestby="cvpv"
            )
        except BrokerError as error:
            return State("waits", f"broker: {error}")
        # The broker calls a pair without any row deployable: nothing was checked then.
        return judge_pair(consumer, provider, answer.deployable if answer.rows else None)

    def until_changed(self) -> None:
        """Returns when a PactProvider has changed, or a few seconds later: a consumer or the broker may have."""
        stream = watch.Watch().stream(  # type: ignore[no-untyped-call]
            self._objects.list_namespaced_custom_object,
            GROUP,
            VERSION,
            self._namespace,
            PLURALS["PactProvider"],
            timeout_seconds=3,
            resource_version=self._list("PactProvider")["metadata"]["resourceVersion"],
        )
        next(iter(stream), None)


def main() -> int:
    """Waits until all holds, something cannot come to hold, or the time is over."""
    check = Check(os.environ["NAMESPACE"])
    end = time.monotonic() + TIMEOUT_SECONDS
    told: list[str] = []
    while True:
        consumers, providers = check.bodies("PactConsumer"), check.bodies("PactProvider")
        published = [judge(body, check.wanted(body)) for body in consumers]
        verified = [judge(body, check.wanted(body)) for body in providers]
        matrix: list[State] = []
        if all(state.verdict != "waits" for state in (*published, *verified)):
            matrix = [check.matrix(*pair) for pair in pairs(consumers, providers)]
        lines = [f"{state.verdict}  {state.text}" for state in (*published, *verified, *matrix)]
        for line in lines:
            if line not in told:
                print(line, flush=True)
        told = lines
        result = overall(published, verified, matrix)
        if result.verdict != "waits" or time.monotonic() > end:
            print(result.text)
            return {"holds": 0, "fails": 1, "waits": 2}[result.verdict]
        check.until_changed()


if __name__ == "__main__":
    sys.exit(main())
