"""The cluster, through the kubeconfig alone: the only module that asks anybody anything."""

import base64
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import urllib3
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

from pactctl.exits import Exit, PactctlError
from pactctl.objects import GROUP, KINDS, VERSION, Kind, Object, kind_of, named, reference

# Neither module has types.
_config: Any = config
_watch: Any = watch
_TIMEOUT: Final = 15
_WATCH_SECONDS: Final = 60
# Between two tries to reach an API server that does not answer: there is no condition to wait on.
_PAUSE_SECONDS: Final = 1.0


class Cluster:
    """One cluster, with what a kubeconfig allows.

    Args:
        kubeconfig: path of the file; None as kubectl finds it.
        context: the context in it; None for the current one.

    Raises:
        PactctlError: there is no such kubeconfig or context.
    """

    def __init__(self, kubeconfig: str | None, context: str | None) -> None:
        try:
            self._api = _config.new_client_from_config(kubeconfig, context=context)
            contexts, active = _config.list_kube_config_contexts(kubeconfig)
        except (_config.ConfigException, OSError) as error:
            raise PactctlError(
                f"The kubeconfig cannot be used: {error}. Set KUBECONFIG or --kubeconfig, and --context.", Exit.USAGE
            ) from error
        # One try each: a cluster that is not there is said at once.
        self._api.rest_client.pool_manager.connection_pool_kw["retries"] = urllib3.Retry(0, redirect=3)
        chosen = next((one for one in contexts if one["name"] == context), active) if context else active
        self.namespace = str((chosen or {}).get("context", {}).get("namespace") or "default")
        # Their answers are taken as JSON, whatever their types say.
        self._custom: Any = client.CustomObjectsApi(self._api)
        self._core: Any = client.CoreV1Api(self._api)

    def objects(self, kinds: Sequence[Kind], namespace: str | None) -> list[Object]:
        """All objects of these kinds.

        Args:
            kinds: of ours.
            namespace: where; None everywhere.

        Raises:
            PactctlError: the cluster does not answer, does not know the kinds, or does not let us.
        """
        return [found for kind in kinds for found in self._listed(kind, namespace)[0]]

    def find(self, text: str, namespace: str, kinds: Sequence[Kind] = KINDS) -> Object:
        """The object that a person means.

        Args:
            text: `KIND/NAME`, or a name alone where only one of the kinds has it.
            namespace: where.
            kinds: that it may be of.

        Raises:
            PactctlError: there is none, or there are several.
        """
        kind, name = reference(text)
        if kind is not None and kind not in kinds:
            wanted = " or ".join(one.singular for one in kinds)
            raise PactctlError(f"{text} is no {wanted}: name one of those.", Exit.USAGE)
        found = [
            one
            for wanted_kind in ([kind] if kind else kinds)
            for one in self.objects([wanted_kind], namespace)
            if one["metadata"]["name"] == name
        ]
        if not found:
            raise PactctlError(
                f"There is no {text} in namespace {namespace}: see `pactctl status --namespace {namespace}`.",
                Exit.USAGE,
            )
        if len(found) > 1:
            raise PactctlError(f"{text} is ambiguous: write {' or '.join(map(named, found))}.", Exit.USAGE)
        return found[0]

    def create(self, manifest: Mapping[str, Any]) -> Object:
        """Creates an object of ours."""
        kind = kind_of(manifest)
        place = (GROUP, VERSION, manifest["metadata"]["namespace"], kind.plural)
        made: Object = self._ask(
            f"create {kind.plural}",
            lambda: self._custom.create_namespaced_custom_object(*place, manifest, _request_timeout=_TIMEOUT),
        )
        return made

    def annotate(self, found: Object, annotation: str, value: str) -> None:
        """Sets an annotation of an object of ours."""
        kind, meta = kind_of(found), found["metadata"]
        patch = {"metadata": {"annotations": {annotation: value}}}
        place = (GROUP, VERSION, meta["namespace"], kind.plural, meta["name"])
        self._ask(
            f"annotate {named(found)}",
            lambda: self._custom.patch_namespaced_custom_object(*place, patch, _request_timeout=_TIMEOUT),
        )

    def events(self, found: Object) -> list[Object]:
        """The Events on an object, oldest first; none where they may not be read."""
        meta = found["metadata"]
        selector = f"involvedObject.name={meta['name']},involvedObject.kind={found['kind']}"
        try:
            answer = self._core.list_namespaced_event(
                meta["namespace"], field_selector=selector, _preload_content=False, _request_timeout=_TIMEOUT
            )
        except (ApiException, urllib3.exceptions.HTTPError):
            # They only add colour.
            return []
        items = json.loads(answer.data).get("items") or []
        return sorted(items, key=lambda event: event.get("eventTime") or event.get("lastTimestamp") or "")

    def changes(
        self, kinds: Sequence[Kind], namespace: str | None, *, name: str | None = None, seconds: float | None = None
    ) -> Iterator[list[Object]]:
        """The objects as they are: at once, and again after each change.

        Args:
            kinds: of ours.
            namespace: where; None everywhere.
            name: only the object of this name.
            seconds: ends after so long; None never.

        Raises:
            PactctlError: the first look fails; a later one is tried again.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        state = {kind.name: self._named(self._listed(kind, namespace)[0], name) for kind in kinds}
        news: queue.Queue[tuple[str, list[Object]]] = queue.Queue()
        over = threading.Event()
        for kind in kinds:
            # A daemon: a watch ends when the process does.
            threading.Thread(target=self._watch, args=(kind, namespace, news, over), daemon=True).start()
        try:
            while True:
                yield [found for kind in kinds for found in state[kind.name]]
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return
                try:
                    changed, objects = news.get(timeout=left)
                except queue.Empty:
                    return
                state[changed] = self._named(objects, name)
                while not news.empty():
                    changed, objects = news.get_nowait()
                    state[changed] = self._named(objects, name)
        finally:
            over.set()

    def gate(self, operator: "Operator", namespace: str, broker: str, question: Mapping[str, str]) -> Mapping[str, Any]:
        """Asks the operator's gate, through the API server's proxy of its Service.

        Args:
            operator: where the operator is.
            namespace: of the PactBroker.
            broker: name of the PactBroker.
            question: query parameters of `GET /v1/gate/{namespace}/{broker}`.

        Returns:
            The gate's answer.

        Raises:
            PactctlError: no answer; the message says what is missing.
        """
        token = self._gate_token(operator)
        path = f"/v1/gate/{quote(namespace, safe='')}/{quote(broker, safe='')}?{urlencode(question)}"
        service = f"/api/v1/namespaces/{operator.namespace}/services/http:{operator.service}:{operator.port}/proxy"
        try:
            answer = self._api.call_api(
                "GET",
                f"{self._api.configuration.host}{service}{path}",
                # The API server keeps Authorization to itself.
                header_params={"X-Pact-Gate-Token": token, "Accept": "application/json"} | self._credentials(),
                _request_timeout=_TIMEOUT,
            )
            answer.read()
            status, body = answer.status, answer.data
        except ApiException as error:
            status, body = error.status, error.body
        except urllib3.exceptions.HTTPError as error:
            raise self._silent(error) from error
        return self._gate_answer(status, body, operator)

    def _credentials(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for setting in self._api.configuration.auth_settings().values():
            if setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = setting["value"]
        return headers

    @staticmethod
    def _gate_answer(status: int | None, body: Any, operator: "Operator") -> Mapping[str, Any]:
        try:
            told = json.loads(body or b"{}")
        except ValueError:
            told = {}
        if status == 200 and isinstance(told, Mapping) and "verdict" in told:
            return told
        said = ""
        if isinstance(told, Mapping):
            said = str(told.get("detail") or told.get("message") or "")
        where = f"service {operator.service} in namespace {operator.namespace}"
        if status == 403 and told.get("kind") == "Status":
            raise PactctlError(f"You may not reach the gate through the API server (services/proxy of {where}): {said}")
        if status == 404 and told.get("kind") == "Status":
            raise PactctlError(
                f"There is no {where}: say where the operator is with --operator-namespace and --operator-service.",
                Exit.USAGE,
            )
        raise PactctlError(
            f"The gate ({where}) answers with status {status}: {said or 'nothing that can be read'}",
            Exit.USAGE if status in (400, 404) else Exit.UNAVAILABLE,
        )

    def _gate_token(self, operator: "Operator") -> str:
        try:
            found = self._core.read_namespaced_secret(operator.secret, operator.namespace, _request_timeout=_TIMEOUT)
        except ApiException as error:
            if error.status == 404:
                raise PactctlError(
                    f"There is no Secret {operator.secret} in namespace {operator.namespace} with the gate's token: "
                    "say where the operator is with --operator-namespace and --operator-service.",
                    Exit.USAGE,
                ) from error
            raise self._refused(f"read Secret {operator.secret}", error) from error
        except urllib3.exceptions.HTTPError as error:
            raise self._silent(error) from error
        value = (found.data or {}).get("token")
        if not value:
            raise PactctlError(f"Secret {operator.secret} in namespace {operator.namespace} has no key 'token'.")
        return base64.b64decode(value).decode().strip()

    def _watch(
        self, kind: Kind, namespace: str | None, news: "queue.Queue[tuple[str, list[Object]]]", over: threading.Event
    ) -> None:
        while not over.is_set():
            try:
                objects, version = self._listed(kind, namespace)
                state = {self._place(found): found for found in objects}
                news.put((kind.name, list(state.values())))
                function, place = self._lister(kind, namespace)
                for event in _watch.Watch().stream(
                    function,
                    *place,
                    resource_version=version,
                    timeout_seconds=_WATCH_SECONDS,
                    _request_timeout=(_TIMEOUT, _WATCH_SECONDS + _TIMEOUT),
                ):
                    found = event["raw_object"]
                    if event["type"] == "DELETED":
                        state.pop(self._place(found), None)
                    else:
                        state[self._place(found)] = found
                    news.put((kind.name, list(state.values())))
                    if over.is_set():
                        return
            except (ApiException, urllib3.exceptions.HTTPError, PactctlError):
                # Too old a version, or a connection that was cut: the next list says.
                over.wait(_PAUSE_SECONDS)

    @staticmethod
    def _place(found: Object) -> tuple[str, str]:
        return (found["metadata"].get("namespace", ""), found["metadata"]["name"])

    @staticmethod
    def _named(objects: list[Object], name: str | None) -> list[Object]:
        return objects if name is None else [found for found in objects if found["metadata"]["name"] == name]

    def _lister(self, kind: Kind, namespace: str | None) -> tuple[Callable[..., Any], tuple[str, ...]]:
        if namespace is None:
            return self._custom.list_cluster_custom_object, (GROUP, VERSION, kind.plural)
        return self._custom.list_namespaced_custom_object, (GROUP, VERSION, namespace, kind.plural)

    def _listed(self, kind: Kind, namespace: str | None) -> tuple[list[Object], str]:
        function, place = self._lister(kind, namespace)
        answer = self._ask(f"list {kind.plural}", lambda: function(*place, _request_timeout=_TIMEOUT))
        items: list[Object] = [{"kind": kind.name, **item} for item in answer.get("items") or ()]
        return items, str(answer["metadata"].get("resourceVersion", ""))

    def _ask(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except ApiException as error:
            raise self._refused(what, error) from error
        except urllib3.exceptions.HTTPError as error:
            raise self._silent(error) from error

    def _refused(self, what: str, error: ApiException) -> PactctlError:
        try:
            said = str(json.loads(error.body or "{}").get("message", ""))
        except ValueError:
            said = ""
        if error.status == 404 and what.startswith("list"):
            return PactctlError(
                f"This cluster does not know {what.removeprefix('list ')}: install the chart pact-operator, "
                "or choose another context.",
                Exit.USAGE,
            )
        if error.status == 403:
            return PactctlError(f"You may not {what} here: {said or error.reason}", Exit.USAGE)
        if error.status == 401:
            return PactctlError("The API server does not take the kubeconfig's credentials: log in anew.", Exit.USAGE)
        return PactctlError(f"The API server refuses to {what} (status {error.status}): {said or error.reason}")

    def _silent(self, error: Exception) -> PactctlError:
        return PactctlError(f"The API server {self._api.configuration.host} does not answer: {error}")


class Operator:
    """Where the operator is, as the chart names things.

    Args:
        namespace: of the release.
        service: name of its Service.
        port: of that Service.
    """

    def __init__(self, namespace: str, service: str, port: int) -> None:
        self.namespace = namespace
        self.service = service
        self.port = port
        self.secret = f"{service}-gate"
