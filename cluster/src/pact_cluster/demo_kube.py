"""The Kubernetes API as the demo uses it: read objects, and wait for what becomes of them with a deadline."""

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import urllib3
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

from pact_cluster.errors import ClusterError

Object = dict[str, Any]
"""An object as the API server holds it, as JSON."""

GROUP: Final = "pact-operator.dev"
VERSION: Final = "v1alpha1"
OUR_KINDS: Final = {
    "PactBroker": "pactbrokers",
    "PactConsumer": "pactconsumers",
    "PactProvider": "pactproviders",
    "PactVerification": "pactverifications",
}
_T = TypeVar("_T")
# Neither module has types.
_config: Any = config
_watch: Any = watch
# One watch lives no longer than this; then the state is listed anew, so that a lost event costs this much at most.
_WATCH_SECONDS = 60.0
# Between two tries to reach an API server that does not answer: there is no condition to wait on.
_PAUSE_SECONDS = 0.5


class WaitedTooLongError(ClusterError):
    """What was waited for did not happen before the deadline."""


class Seen(Protocol):
    """Told what a wait sees, so that a person can follow it."""

    def __call__(self, detail: str, /) -> None:
        """Take one phrase."""


def ignore(_detail: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Condition:
    """One condition of an object.

    Attributes:
        status: `True`, `False` or `Unknown`; empty if the object has no such condition.
        reason: CamelCase reason.
        message: One sentence.
        current: Whether it speaks of the object's present generation.
    """

    status: str = ""
    reason: str = ""
    message: str = ""
    current: bool = False

    def __str__(self) -> str:
        if not self.status:
            return "not looked at yet"
        return f"{self.reason}: {self.message}" if self.message else self.reason


def condition(found: Object | None, kind: str = "Ready") -> Condition:
    """A condition of an object, by its type."""
    if found is None:
        return Condition()
    generation = found.get("metadata", {}).get("generation", 0)
    for entry in found.get("status", {}).get("conditions") or []:
        if entry.get("type") == kind:
            return Condition(
                entry.get("status", ""),
                entry.get("reason", ""),
                entry.get("message", ""),
                (entry.get("observedGeneration") or generation) >= generation,
            )
    return Condition()


class Kube:
    """A client of one cluster.

    Args:
        kubeconfig: The file of the context; None: the user's own.
        context: The kube context's name.

    Raises:
        ClusterError: The kubeconfig has no such context.
    """

    def __init__(self, kubeconfig: Path | None, context: str) -> None:
        try:
            self.api = _config.new_client_from_config(str(kubeconfig) if kubeconfig else None, context=context)
        except (_config.ConfigException, OSError) as error:
            raise ClusterError(f"The kube context {context} cannot be used: {error}") from error
        self.core = client.CoreV1Api(self.api)
        self.apps = client.AppsV1Api(self.api)
        self.batch = client.BatchV1Api(self.api)
        self.custom = client.CustomObjectsApi(self.api)

    def close(self) -> None:
        """Close pooled connections."""
        self.api.close()

    def objects(self, kind: str, namespace: str, **options: Any) -> list[Object]:
        """All objects of a kind in a namespace; empty if the cluster does not know the kind.

        Args:
            kind: One of ours, or one of those that `_lister` names.
            namespace: Where; empty for kinds without one.
            **options: `label_selector`, `field_selector`.

        Raises:
            ClusterError: The API server does not answer or refuses.
        """
        return self._listed(kind, namespace, **options)[0]

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """One object, None if it is not there."""
        found = self.objects(kind, namespace, field_selector=f"metadata.name={name}")
        return found[0] if found else None

    def changes(self, kind: str, namespace: str, deadline: float, **options: Any) -> Iterator[Mapping[str, Object]]:
        """The objects of a kind by name: at once, and again after each change, until the deadline.

        Args:
            kind: As for `objects`.
            namespace: Where.
            deadline: On the clock of `time.monotonic`.
            **options: `label_selector`, `field_selector`.
        """
        while (left := deadline - time.monotonic()) > 0:
            objects, version = self._listed(kind, namespace, **options)
            state = {item["metadata"]["name"]: item for item in objects}
            yield state
            seconds = max(1, int(min(left, _WATCH_SECONDS)))
            function, arguments = self._lister(kind, namespace)
            stream = _watch.Watch()
            try:
                for event in stream.stream(
                    function,
                    *arguments,
                    resource_version=version,
                    timeout_seconds=seconds,
                    _request_timeout=(5, seconds + 5),
                    **options,
                ):
                    item = event["raw_object"]
                    if event["type"] == "DELETED":
                        state.pop(item["metadata"]["name"], None)
                    else:
                        state[item["metadata"]["name"]] = item
                    yield state
                    if time.monotonic() > deadline:
                        return
            except (ApiException, urllib3.exceptions.HTTPError):
                # Too old a version, a connection that was cut, or a kind that is not there yet: the next list says.
                time.sleep(_PAUSE_SECONDS)
            finally:
                stream.stop()

    def wait(
        self,
        kind: str,
        namespace: str,
        judge: Callable[[Mapping[str, Object]], _T | None],
        *,
        what: str,
        seconds: float,
        look: str = "",
        seen: Seen = ignore,
        **options: Any,
    ) -> _T:
        """Wait until the objects of a kind are as wished.

        Args:
            kind: As for `objects`.
            namespace: Where.
            judge: Given all objects by name: an answer, or None to wait on. May raise to give up.
            what: What is waited for, as a phrase; for the error.
            look: A command that tells more, for the error.
            seconds: At most so long.
            seen: Told the conditions on the way.
            **options: `label_selector`, `field_selector`.

        Raises:
            WaitedTooLongError: Names the last conditions.
            ClusterError: The API server does not answer.
        """
        last = "nothing is there yet"
        for state in self.changes(kind, namespace, time.monotonic() + seconds, **options):
            answer = judge(state)
            if answer is not None:
                return answer
            last = self._told(kind, state) or last
            seen(last)
        hint = f" Look at `{look}`." if look else ""
        raise WaitedTooLongError(f"Waited {seconds:.0f} s for {what}; last seen: {last.rstrip('.')}.{hint}")

    def secret(self, namespace: str, name: str) -> dict[str, str]:
        """The decoded values of a Secret; empty if there is none."""
        try:
            found = self.core.read_namespaced_secret(name, namespace, _request_timeout=15)
        except ApiException as error:
            if error.status == 404:
                return {}
            raise self._error(error) from error
        return {key: base64.b64decode(value).decode() for key, value in (found.data or {}).items()}

    def events_of(self, namespace: str, name: str) -> list[Object]:
        """The Events that speak of an object, oldest first."""
        found = self.objects("Event", namespace, field_selector=f"involvedObject.name={name}")
        return sorted(found, key=lambda e: e.get("eventTime") or e.get("lastTimestamp") or "")

    def ensure_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a namespace with these labels, or add them to the one that is there."""
        body = client.V1Namespace(metadata=client.V1ObjectMeta(name=name, labels=dict(labels)))
        try:
            self.core.create_namespace(body, _request_timeout=15)
        except ApiException as error:
            if error.status != 409:
                raise self._error(error) from error
            try:
                self.core.patch_namespace(name, body, _request_timeout=15)
            except ApiException as second:
                raise self._error(second) from second

    def wait_for_kinds(self, *, seconds: float) -> None:
        """Wait until the API server serves all kinds of ours.

        Raises:
            WaitedTooLongError: It does not.
        """
        wanted = {f"{plural}.{GROUP}" for plural in OUR_KINDS.values()}

        def judge(state: Mapping[str, Object]) -> bool | None:
            served = {name for name, crd in state.items() if condition(crd, "Established").status == "True"}
            return True if wanted <= served else None

        what = f"the kinds of {GROUP} to be served"
        self.wait("CustomResourceDefinition", "", judge, what=what, seconds=seconds)

    def _lister(self, kind: str, namespace: str) -> tuple[Callable[..., Any], tuple[str, ...]]:
        if kind in OUR_KINDS:
            return self.custom.list_namespaced_custom_object, (GROUP, VERSION, namespace, OUR_KINDS[kind])
        if kind == "CustomResourceDefinition":
            return client.ApiextensionsV1Api(self.api).list_custom_resource_definition, ()
        functions: dict[str, Callable[..., Any]] = {
            "Pod": self.core.list_namespaced_pod,
            "Event": self.core.list_namespaced_event,
            "Job": self.batch.list_namespaced_job,
            "Deployment": self.apps.list_namespaced_deployment,
            "PersistentVolumeClaim": self.core.list_namespaced_persistent_volume_claim,
        }
        return functions[kind], (namespace,)

    def _listed(self, kind: str, namespace: str, **options: Any) -> tuple[list[Object], str]:
        function, arguments = self._lister(kind, namespace)
        try:
            answer = function(*arguments, _request_timeout=15, _preload_content=False, **options)
            body = json.loads(answer.data)
        except ApiException as error:
            if error.status == 404:
                return [], "0"
            raise self._error(error) from error
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError("The cluster's API server does not answer: see `make demo-status`.") from error
        return list(body.get("items") or []), str(body["metadata"].get("resourceVersion", "0"))

    @staticmethod
    def _error(error: ApiException) -> ClusterError:
        try:
            said = json.loads(error.body or "{}").get("message", "")
        except ValueError:
            said = ""
        return ClusterError(f"The API server refuses with status {error.status}: {said or error.reason}")

    @staticmethod
    def _told(kind: str, state: Mapping[str, Object]) -> str:
        if kind == "Deployment":
            available = {name: condition(item, "Available") for name, item in sorted(state.items())}
            return "; ".join(f"{name}: {told.message or told}" for name, told in available.items())
        if kind not in OUR_KINDS:
            return ", ".join(sorted(state))
        main = "Succeeded" if kind == "PactVerification" else "Ready"
        return "; ".join(f"{name} {condition(item, main)}" for name, item in sorted(state.items()))
