"""The demo's broker, read from outside: through a forwarded port, with the credentials that only read."""

import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from brokerclient import BasicAuth, BrokerClient, BrokerError, InvalidRequest, MatrixRow
from pact_cluster.demo_kube import Kube
from pact_cluster.errors import ClusterError
from pact_cluster.kind import context_of, environment
from pact_cluster.tools import ensure_tools
from pact_cluster.workspace import Workspace

BROKER_PORT = 9292
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@contextmanager
def forwarded(workspace: Workspace, namespace: str, service: str, port: int) -> Iterator[int]:
    """A port of a Service, on a free port of loopback.

    Args:
        workspace: Whose cluster.
        namespace: Of the Service.
        service: Its name.
        port: Its port.

    Yields:
        The local port; it is closed at the end.

    Raises:
        ClusterError: It cannot be forwarded.
    """
    program = ensure_tools(workspace, ["kubectl"])["kubectl"]
    command = [str(program), "--context", context_of(workspace), "--namespace", namespace]
    command += ["port-forward", f"service/{service}", f":{port}", "--address", "127.0.0.1"]
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(  # noqa: S603 - a list of words, never a shell line
            command,
            env=environment(workspace),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            # Ctrl-C is for the demo, which ends the forwarding itself.
            start_new_session=True,
        )
        try:
            assert process.stdout is not None, "it was asked for"  # noqa: S101
            found = _FORWARDING.search(process.stdout.readline())
            if not found:
                process.wait(timeout=10)
                complaints.seek(0)
                said = complaints.read().strip().splitlines()[-1:] or ["no word of it"]
                raise ClusterError(f"Port {port} of the Service {namespace}/{service} cannot be reached: {said[0]}")
            yield int(found[1])
        finally:
            process.terminate()
            process.wait()


@contextmanager
def connected(workspace: Workspace, kube: Kube, namespace: str, *, write: bool = False) -> Iterator[BrokerClient]:
    """A client of the broker that the chart `pact-broker` installed in a namespace.

    Args:
        workspace: Whose cluster.
        kube: The same cluster; for the credentials.
        namespace: Of the release `pact-broker`.
        write: With the credentials that may write, instead of those that only read.

    Raises:
        ClusterError: It cannot be reached, or its credentials are not there.
    """
    name = "pact-broker-readwrite" if write else "pact-broker-readonly"
    secret = kube.secret(namespace, name)
    if not secret:
        raise ClusterError(f"There is no Secret {name} in the namespace {namespace}: run `make demo` first.")
    auth = BasicAuth(secret.get("username", ""), secret.get("password", ""))
    with (
        forwarded(workspace, namespace, "pact-broker", BROKER_PORT) as port,
        BrokerClient(f"http://127.0.0.1:{port}", auth=auth, user_agent="pact-operator-demo") as client,
    ):
        try:
            yield client
        except BrokerError as error:
            raise ClusterError(
                f"The broker in the namespace {namespace} does not answer as it should: {error}"
            ) from error


def version_to_publish(client: BrokerClient, consumer: str, base: str, branch: str, spent: str = "") -> str:
    """The version under which a content becomes, or already is, the newest of its branch.

    A broker takes the version that was first seen last for the newest. A content that was published before, and is
    not the newest any more, therefore needs a version of its own: `<base>.<n>`, as a revert is a new commit.

    Args:
        client: The broker.
        consumer: Name of the consumer.
        base: The version that the content has by itself.
        branch: The branch.
        spent: The version that was published last, as far as the cluster knows. If the broker lacks it, its data is
            gone, and nobody would publish that version again.

    Returns:
        `base`, or the first `base.<n>` that serves.
    """
    candidate, n = base, 0
    while (found := client.version(consumer, candidate)) is not None or candidate == spent:
        following = client.version(consumer, f"{base}.{n + 1}")
        newest = found is not None and any(b.name == branch and b.latest for b in found.branches)
        if following is None and newest:
            return candidate
        n += 1
        candidate = f"{base}.{n}"
    return candidate


@dataclass(frozen=True)
class Verdict:
    """One pair of the matrix as the broker holds it.

    Attributes:
        failures: `interaction: what differed` of those that failed, as far as the broker was told.
    """

    consumer: str
    consumer_version: str
    provider: str
    provider_version: str
    content_sha: str
    success: bool
    verified_at: str
    failures: tuple[str, ...] = ()


def matrix(client: BrokerClient, consumer: str, providers: tuple[str, ...], *, told: int = 12) -> list[Verdict]:
    """All verified pairs of a consumer's and some providers' versions, newest result first.

    Args:
        client: The broker.
        consumer: Name of the consumer.
        providers: Names of the providers.
        told: Of so many, the newest, the broker is also asked what failed; each is a question of its own.
    """
    _reconnect(client)
    found: list[MatrixRow] = []
    for provider in providers:
        selectors = [{"pacticipant": consumer}, {"pacticipant": provider}]
        try:
            found += client.matrix(selectors, latestby="cvpv", success=(True, False), limit=1000).rows
        except InvalidRequest:
            continue  # the broker does not know one of them yet
    found.sort(key=lambda row: (row.verified_at or "", row.provider), reverse=True)
    return [
        Verdict(
            row.consumer,
            row.consumer_version,
            row.provider,
            row.provider_version,
            row.content_sha or "",
            row.success,
            row.verified_at or "",
            _failures(client, row.result_url) if number < told and not row.success and row.result_url else (),
        )
        for number, row in enumerate(found)
        if row.success is not None and row.provider_version is not None
    ]


def contents(client: BrokerClient, consumer: str, providers: tuple[str, ...]) -> dict[str, str]:
    """The content that each provider has to keep of a consumer's newest main version: provider to content SHA."""
    _reconnect(client)
    found: dict[str, str] = {}
    for provider in providers:
        for pact in client.pacts_for_verification(provider, selectors=[{"mainBranch": True, "consumer": consumer}]):
            found[provider] = pact.content_sha
    return found


def in_scope(client: BrokerClient, providers: tuple[str, ...]) -> dict[str, frozenset[str]]:
    """The contents that each provider has to keep, those of what is deployed included: provider to content SHAs."""
    _reconnect(client)
    selectors = [{"mainBranch": True}, {"deployedOrReleased": True}]
    return {
        provider: frozenset(pact.content_sha for pact in client.pacts_for_verification(provider, selectors=selectors))
        for provider in providers
    }


def _reconnect(client: BrokerClient) -> None:
    # A broker closes connections that idle; through a forwarded port that goes unseen until the next request fails.
    client.close()


def _failures(client: BrokerClient, url: str) -> tuple[str, ...]:
    results = client.verification_result(url).test_results
    return tuple(failure_text(result) for result in results if result.get("success") is False)


def failure_text(result: Mapping[str, Any]) -> str:
    """One interaction that failed, as `name: place: what differed`, as far as the broker was told."""
    name = str(result.get("interactionDescription") or result.get("interactionId") or "an interaction")
    for mismatch in result.get("mismatches") or []:
        if isinstance(mismatch, Mapping):
            told = str(mismatch.get("description") or mismatch.get("mismatch") or "")
            place = " at ".join(str(mismatch[key]) for key in ("attribute", "identifier") if mismatch.get(key))
            return ": ".join(part for part in (name, place, told) if part)
    return name
