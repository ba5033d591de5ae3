"""The API server, through the official asynchronous client; the `Cluster` port.

Objects go in and out as plain mappings: manifests are made by the core, and generated models would only stand between
it and the wire.
"""

import asyncio
import base64
import binascii
import json
import logging
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from pact_operator.api import names
from pact_operator.core.facts import Key
from pact_operator.ports import ClusterError

logger = logging.getLogger(__name__)

_JSON: Final = "application/json"
_METADATA: Final = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_PAGE: Final = 500
_JSON_PATCH: Final = "application/json-patch+json"
_EVENT_MESSAGE: Final = 1024  # bytes that the API server takes in an Event's message

_PLURALS: Final[Mapping[str, str]] = {**names.PLURALS, "Job": "jobs"}


class KubernetesCluster:
    """One API server.

    Args:
        client: a configured client; closed by `close`.
        timeout: seconds that a request may take, from connecting to the last byte.
    """

    def __init__(self, client: ApiClient, *, timeout: float = 15.0) -> None:
        self._client = client
        self._timeout = timeout
        client.user_agent = "pact-operator"

    @classmethod
    async def connect(cls) -> Self:
        """Finds the API server: the Pod's service account, else `KUBECONFIG` or `~/.kube/config`.

        Raises:
            ClusterError: neither is there, or it cannot be used.
        """
        configuration = Configuration()
        try:
            if os.environ.get("KUBERNETES_SERVICE_HOST") and not os.environ.get("KUBECONFIG"):
                load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            else:
                await load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=os.environ.get("KUBECONFIG"), client_configuration=configuration, persist_config=False
                )
        except (ConfigException, OSError) as error:
            raise ClusterError(
                0, "NoCluster", f"No cluster to work in: run in a Pod, or set KUBECONFIG ({error})."
            ) from error
        return cls(ApiClient(configuration))

    async def close(self) -> None:
        """Closes pooled connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def require_kinds(self) -> None:
        """Makes sure that the API server serves our kinds: what is not served at the start is never watched.

        Raises:
            ClusterError: a kind is missing, or the API server does not answer.
        """
        try:
            served = await self._send("GET", f"/apis/{names.API_VERSION}")
        except ClusterError as error:
            if error.status != 404:
                raise
            served = {}
        kinds = {resource.get("kind") for resource in served.get("resources") or []}
        if missing := sorted(set(names.PLURALS) - kinds):
            raise ClusterError(
                404,
                "KindsMissing",
                f"The cluster does not know {', '.join(missing)}: install the CustomResourceDefinitions of the chart "
                "pact-operator, then start the operator again.",
            )

    async def uids(self, kinds: Iterable[tuple[str, str, str]], namespaces: Sequence[str]) -> set[str]:
        """The UIDs of all objects of some kinds, asked for with little more than those.

        Args:
            kinds: API version, plural and label selector (empty for all) of each.
            namespaces: where to look; none means everywhere.

        Raises:
            ClusterError: the API server did not answer, or not as it should.
        """
        found: set[str] = set()
        for api_version, plural, selector in kinds:
            base = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            for place in [f"/namespaces/{quote(name)}" for name in namespaces] or [""]:
                path = f"{base}{place}/{plural}?limit={_PAGE}&labelSelector={quote(selector)}"
                page, more = path, True
                while more:
                    listed = await self._send("GET", page, accept=_METADATA)
                    found.update(item["metadata"]["uid"] for item in listed.get("items") or [])
                    more = bool(token := (listed.get("metadata") or {}).get("continue"))
                    page = f"{path}&continue={quote(token or '')}"
        return found

    async def create(self, manifest: Mapping[str, Any]) -> None:
        """Creates a namespaced object; see the port."""
        meta = manifest["metadata"]
        collection = _path(manifest["apiVersion"], manifest["kind"], meta["namespace"])
        try:
            await self._send("POST", collection, manifest)
        except ClusterError as error:
            if error.reason != "AlreadyExists" or not await self._is_ours(f"{collection}/{meta['name']}", manifest):
                raise

    async def _is_ours(self, path: str, manifest: Mapping[str, Any]) -> bool:
        try:
            existing = await self._send("GET", path)
        except ClusterError as error:
            if error.status == 404:
                # Gone since: the next try creates it.
                return False
            raise
        wanted = _controller_uid(manifest)
        return wanted is not None and _controller_uid(existing) == wanted

    async def delete(self, api_version: str, kind: str, namespace: str, name: str) -> None:
        """Deletes an object with what it owns; see the port."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        try:
            await self._send("DELETE", f"{_path(api_version, kind, namespace)}/{quote(name)}", options)
        except ClusterError as error:
            if error.status != 404:
                raise

    async def patch_status(self, key: Key, status: Mapping[str, Any], resource_version: str) -> None:
        """Replaces the status of an object of ours; see the port."""
        await self._patch(_object_path(key) + "/status", "/status", dict(status), resource_version)

    async def set_finalizers(self, key: Key, finalizers: Sequence[str], resource_version: str) -> str | None:
        """Replaces the finalizers of an object of ours; see the port."""
        changed = await self._patch(_object_path(key), "/metadata/finalizers", list(finalizers), resource_version)
        return None if changed is None else str(changed["metadata"]["resourceVersion"])

    async def _patch(self, path: str, pointer: str, value: Any, resource_version: str) -> Mapping[str, Any] | None:
        # A JSON patch that sets the resource version is refused with 409 if the object has moved on, needs no verb
        # but `patch`, and (other than a merge patch) leaves nothing of the old value behind.
        operations = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": resource_version},
            {"op": "add", "path": pointer, "value": value},
        ]
        try:
            return await self._send("PATCH", path, operations, content_type=_JSON_PATCH)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    async def secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Reads a Secret; see the port."""
        try:
            found = await self._send("GET", f"/api/v1/namespaces/{quote(namespace)}/secrets/{quote(name)}")
        except ClusterError as error:
            if error.status == 404:
                return None
            raise
        return {key: _decoded(value) for key, value in (found.get("data") or {}).items()}

    async def complaint(self, namespace: str, job: str) -> str:
        """The newest Warning Event of a Job; see the port."""
        wanted = f"involvedObject.kind=Job,involvedObject.name={job},type=Warning"
        path = f"/api/v1/namespaces/{quote(namespace)}/events?fieldSelector={quote(wanted)}"
        found = (await self._send("GET", path)).get("items") or []
        newest = max(found, key=lambda event: str(event.get("lastTimestamp") or ""), default=None)
        return str(newest.get("message") or "") if newest else ""

    async def event(self, key: Key, uid: str, type_: str, reason: str, message: str) -> None:
        """Records an Event; see the port."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{key.name[:200]}.{uuid.uuid4().hex[:16]}", "namespace": key.namespace},
            "involvedObject": {
                "apiVersion": names.API_VERSION,
                "kind": key.kind,
                "namespace": key.namespace,
                "name": key.name,
                "uid": uid,
            },
            "type": type_,
            "reason": reason,
            "message": message.encode()[:_EVENT_MESSAGE].decode(errors="ignore"),
            "source": {"component": names.MANAGED_BY},
            "reportingComponent": f"{names.GROUP}/operator",
            "reportingInstance": os.environ.get("HOSTNAME", names.MANAGED_BY),
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._send("POST", f"/api/v1/namespaces/{quote(key.namespace)}/events", body)
        except ClusterError as error:
            logger.warning("%s: its Event %s could not be recorded: %s", key, reason, error)

    async def _send(
        self, method: str, path: str, body: Any = None, *, content_type: str = _JSON, accept: str = _JSON
    ) -> dict[str, Any]:
        headers = {"Accept": accept, "Content-Type": content_type}
        try:
            async with asyncio.timeout(self._timeout):
                verb, url, params, payload, form = await self._client.param_serialize(
                    method=method,
                    resource_path=path,
                    header_params=headers,
                    body=body,
                    auth_settings=["BearerToken"],
                )
                response = await self._client.call_api(verb, url, params, payload, form)
                content = await response.read()  # type: ignore[no-untyped-call]
        except TimeoutError as error:
            raise ClusterError(
                0, "Timeout", f"The API server did not answer {method} {path} within {self._timeout:g} seconds."
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ClusterError(0, "Unreachable", f"The API server cannot be reached: {error}.") from error
        answer = _object(content)
        if response.status >= 400:
            raise ClusterError(
                response.status,
                str(answer.get("reason") or f"Status{response.status}"),
                str(answer.get("message") or f"The API server answered {method} {path} with {response.status}."),
            )
        return answer


def _path(api_version: str, kind: str, namespace: str) -> str:
    return f"/apis/{api_version}/namespaces/{quote(namespace)}/{_PLURALS[kind]}"


def _object_path(key: Key) -> str:
    return f"{_path(names.API_VERSION, key.kind, key.namespace)}/{quote(key.name)}"


def _controller_uid(manifest: Mapping[str, Any]) -> str | None:
    references = (manifest.get("metadata") or {}).get("ownerReferences") or []
    return next((str(item["uid"]) for item in references if item.get("controller")), None)


def _decoded(value: str | None) -> str:
    try:
        # An empty value comes as null.
        return base64.b64decode(value or "").decode()
    except (binascii.Error, ValueError):
        return ""


def _object(content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
