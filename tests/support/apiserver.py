"""A real Kubernetes API server for tests: etcd and kube-apiserver on loopback, data in a temporary directory.

There is no kubelet and no controller manager: what they would do (a Job's Pod and its end), tests do through the API,
so that every state of the outside can be had at will. Authorization is RBAC, so that the operator's rights are tested,
too.
"""

import asyncio
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import yaml

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT / "charts/pact-operator/files/crds"
START_SECONDS = 90.0

GROUPS = {
    "PactBroker": ("/apis/pact-operator.dev/v1alpha1", "pactbrokers"),
    "PactConsumer": ("/apis/pact-operator.dev/v1alpha1", "pactconsumers"),
    "PactProvider": ("/apis/pact-operator.dev/v1alpha1", "pactproviders"),
    "PactVerification": ("/apis/pact-operator.dev/v1alpha1", "pactverifications"),
    "Job": ("/apis/batch/v1", "jobs"),
    "Pod": ("/api/v1", "pods"),
    "Secret": ("/api/v1", "secrets"),
    "Event": ("/api/v1", "events"),
    "Deployment": ("/apis/apps/v1", "deployments"),
}


class ApiError(Exception):
    """The API server said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


@dataclass(frozen=True)
class ApiServer:
    """A running API server.

    Attributes:
        url: its address.
        tokens: user -> bearer token; `admin` may do everything, `operator` what it is granted.
        directory: where kubeconfigs may be written.
    """

    url: str
    tokens: Mapping[str, str]
    directory: Path

    def used(self, user: str) -> set[tuple[str, str, str]]:
        """What a user has done so far and was allowed to: (API group, resource with its subresource, verb)."""
        entries = (json.loads(line) for line in (self.directory / "audit.log").read_text("utf-8").splitlines())
        return {
            (
                about.get("apiGroup", ""),
                "/".join(filter(None, (about["resource"], about.get("subresource")))),
                one["verb"],
            )
            for one in entries
            if one["user"]["username"] == user
            and (about := one.get("objectRef"))
            and one["annotations"]["authorization.k8s.io/decision"] == "allow"
        }

    def kubeconfig(self, user: str) -> Path:
        """Writes a kubeconfig for one of the users."""
        path = self.directory / f"{user}.kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "clusters": [{"name": "test", "cluster": {"server": self.url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": user, "user": {"token": self.tokens[user]}}],
        }
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    def client(self, user: str = "admin") -> httpx.Client:
        """A blocking client, for fixtures."""
        return httpx.Client(
            base_url=self.url, verify=_no_verification(), headers=self._headers(user), timeout=30, trust_env=False
        )

    def api(self, user: str = "admin") -> "Api":
        """An asynchronous client, for tests."""
        return Api(
            httpx.AsyncClient(
                base_url=self.url, verify=_no_verification(), headers=self._headers(user), timeout=30, trust_env=False
            )
        )

    def _headers(self, user: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[user]}"}


class Api:
    """The API server, as tests use it: objects in and out as mappings, `ApiError` where it says no."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Creates an object; unknown fields are refused."""
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        path = _path(manifest["kind"], manifest["metadata"]["namespace"])
        return await self._send("POST", path + query, manifest)

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        """Reads an object."""
        return await self._send("GET", f"{_path(kind, namespace)}/{name}")

    async def find(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """Reads an object, None if there is none."""
        try:
            return await self.get(kind, namespace, name)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list(self, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """Lists objects of a kind."""
        answer = await self._send("GET", f"{_path(kind, namespace)}?labelSelector={selector}")
        return [{"kind": kind, **item} for item in answer["items"]]

    async def patch(self, kind: str, namespace: str, name: str, patch: Any, subresource: str = "") -> dict[str, Any]:
        """Patches an object (merge patch)."""
        return await self._send(
            "PATCH", f"{_path(kind, namespace)}/{name}{subresource}", patch, "application/merge-patch+json"
        )

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Deletes an object at once."""
        await self._send(
            "DELETE", f"{_path(kind, namespace)}/{name}", {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        )

    async def namespace(self, name: str) -> str:
        """Makes a namespace and returns its name."""
        await self._send(
            "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        )
        return name

    async def _send(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> dict[str, Any]:
        content = None if body is None else json.dumps(body)
        answer = await self.http.request(method, path, content=content, headers={"Content-Type": kind})
        if answer.status_code >= 400:
            raise ApiError(answer.status_code, answer.json().get("message", answer.text))
        return dict(answer.json())


async def eventually(
    condition: Callable[[], Awaitable[T | None]], what: str, *, within: float = 30.0, every: float = 0.05
) -> T:
    """Waits until a condition gives something that is true, and returns it.

    Args:
        condition: asked again and again.
        what: says in the failure what did not come.
        within: seconds to wait at most.
        every: seconds between two questions.
    """
    deadline = time.monotonic() + within
    while True:
        if found := await condition():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within:g} seconds")
        await asyncio.sleep(every)


@contextmanager
def running_apiserver(directory: Path) -> Iterator[ApiServer]:
    """Starts etcd and kube-apiserver, installs the CustomResourceDefinitions, and ends both afterwards.

    The binaries come from the directory that `TEST_ASSETS` names, else from the project's tools.

    Args:
        directory: an empty directory for everything that they write.
    """
    etcd, apiserver = _binaries()
    etcd_port, peer_port, port = _free_ports(3)
    tokens = {user: secrets.token_hex(16) for user in ("admin", "operator")}
    (directory / "tokens.csv").write_text(
        f'{tokens["admin"]},admin,admin,"system:masters"\n{tokens["operator"]},operator,operator,"system:operators"\n',
        encoding="utf-8",
    )
    rules = [{"level": "Metadata", "users": ["operator"]}, {"level": "None"}]
    policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}
    (directory / "audit.yaml").write_text(yaml.safe_dump(policy), encoding="utf-8")
    key = directory / "sa.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True, timeout=60)
    server = ApiServer(f"https://localhost:{port}", tokens, directory)
    with (
        _process(
            directory / "etcd.log",
            str(etcd),
            f"--data-dir={directory / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-cluster=default=http://127.0.0.1:{peer_port}",
            "--unsafe-no-fsync",
        ),
        _process(
            directory / "apiserver.log",
            str(apiserver),
            f"--etcd-servers=http://127.0.0.1:{etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={directory / 'pki'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://localhost",
            f"--service-account-signing-key-file={key}",
            f"--service-account-key-file={key}",
            f"--token-auth-file={directory / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--audit-policy-file={directory / 'audit.yaml'}",
            f"--audit-log-path={directory / 'audit.log'}",
            # There is no controller that would make the default service account.
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
        ) as process,
        server.client() as client,
    ):
        _until_ready(client, process, directory)
        _install_crds(client)
        yield server


def grant(server: ApiServer, rules: list[Any]) -> None:
    """Grants the user `operator` rules of RBAC in all namespaces."""
    base = "/apis/rbac.authorization.k8s.io/v1"
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "operator"},
        "rules": rules,
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "operator"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "operator"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "operator"}],
    }
    with server.client() as client:
        client.post(f"{base}/clusterroles", json=role).raise_for_status()
        client.post(f"{base}/clusterrolebindings", json=binding).raise_for_status()


def _path(kind: str, namespace: str) -> str:
    base, plural = GROUPS[kind]
    return f"{base}/namespaces/{namespace}/{plural}"


def _binaries() -> tuple[Path, Path]:
    if assets := os.environ.get("TEST_ASSETS"):
        return Path(assets) / "etcd", Path(assets) / "kube-apiserver"
    from pact_cluster import Workspace, ensure_tools

    tools = ensure_tools(Workspace.find(), ["etcd", "kube-apiserver"])
    return tools["etcd"], tools["kube-apiserver"]


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


@contextmanager
def _process(log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(15)


def _until_ready(client: httpx.Client, process: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if client.get("/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            tail = (directory / "apiserver.log").read_text(encoding="utf-8", errors="replace")[-3000:]
            raise AssertionError(f"kube-apiserver does not get ready:\n{tail}")
        time.sleep(0.1)


def _install_crds(client: httpx.Client) -> None:
    base = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    names = []
    for path in sorted(CRDS.glob("*.yaml")):
        manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
        answer = client.post(f"{base}?fieldValidation=Strict", json=manifest)
        if answer.status_code >= 400:
            raise AssertionError(f"the API server refuses {path.name}: {answer.json().get('message')}")
        names.append(manifest["metadata"]["name"])
    deadline = time.monotonic() + START_SECONDS
    for name in names:
        while not _established(client.get(f"{base}/{name}").json()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{name} is not established")
            time.sleep(0.05)
    # Established is not yet served: that comes with the next round of discovery.
    for _base, plural in list(GROUPS.values())[: len(names)]:
        while client.get(f"/apis/pact-operator.dev/v1alpha1/{plural}").status_code != 200:
            if time.monotonic() > deadline:
                raise AssertionError(f"{plural} are not served")
            time.sleep(0.05)


def _established(definition: Mapping[str, Any]) -> bool:
    conditions = {c["type"]: c for c in (definition.get("status") or {}).get("conditions") or []}
    broken = conditions.get("NonStructuralSchema")
    if broken and broken["status"] == "True":
        raise AssertionError(f"{definition['metadata']['name']}: {broken['message']}")
    return bool(conditions.get("Established", {}).get("status") == "True")


def _no_verification() -> ssl.SSLContext:
    # On loopback, against a certificate that the server has just made for itself.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def helm() -> Path:
    """The helm binary: of `TEST_ASSETS`, of the project's tools, or of the PATH."""
    return _tool("helm")


def kubectl() -> Path:
    """The kubectl binary; see `helm`."""
    return _tool("kubectl")


def _tool(name: str) -> Path:
    if assets := os.environ.get("TEST_ASSETS"):
        return Path(assets) / name
    if found := shutil.which(name):
        return Path(found)
    from pact_cluster import Workspace, ensure_tools

    return ensure_tools(Workspace.find(), [name])[name]
