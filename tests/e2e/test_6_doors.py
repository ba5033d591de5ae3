"""Doors: what the Pods of the loop may do and reach, what the operator may do, and where secrets must not show.

The programs that try what they must not run inside real Jobs of the operator: as the provider beside a verifier, and
as a consumer's tests. They send packets to this cluster and its own Docker network only.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest

from pact_cluster.demo_kube import Object
from pact_cluster.demo_releases import DEMO, SYSTEM, Helm
from pact_cluster.engine import NETWORK
from pact_cluster.errors import CommandFailedError
from pact_cluster.kind import kubectl
from tests.charts.test_rights import OPERATOR, rights
from tests.support.kind import BROKER_SECRETS, HARDENED, POD_SECURITY, WAIT_SECONDS, Kind, container_of, pact, unique

# Namespaces of Kubernetes and kind themselves.
OTHERS = {"kube-system", "kube-public", "kube-node-lease", "default", "local-path-storage"}
ENFORCE = "pod-security.kubernetes.io/enforce"
NOT_ENFORCED = "not enforced by this cluster"
TARGETS = ("API server", "its node", "another namespace", "outside of the cluster")

# Prints one line of JSON: whether there is a token, and what can be connected to. The last of three rounds counts: a
# policy may take a moment to be in force for a new Pod.
PROBE = """
import json, os, socket, sys, time
targets, reached = json.loads({targets!r}), {{}}
for turn in range(3):
    for name, (host, port) in targets.items():
        try:
            socket.create_connection((host, port), timeout=2).close()
            reached[name] = True
        except OSError:
            reached[name] = False
    time.sleep(0.5)
token = os.path.exists("/var/run/secrets/kubernetes.io")
print(json.dumps({{"probe": {{"token": token, "reached": reached}}}}), flush=True)
"""
PROVIDE = "os.execvp('python', ['python', '-m', 'flask_provider'])"


def listed(kind: Kind, *what: str) -> list[Object]:
    """Objects as kubectl lists them."""
    return list(json.loads(kubectl(kind.workspace, "get", *what, "--output", "json"))["items"])


def make(kind: Kind, namespace: str, api: str, what: str, name: str, spec: Mapping[str, Any], *options: str) -> None:
    """Create an object as kubectl does."""
    body = {"apiVersion": api, "kind": what, "metadata": {"name": name}, "spec": dict(spec)}
    kubectl(kind.workspace, "create", "--namespace", namespace, "--filename", "-", *options, stdin=json.dumps(body))


def pod_spec(container: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "containers": [dict(container)],
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": dict(POD_SECURITY),
    }


# --- Pod Security


def test_every_namespace_that_runs_our_pods_admits_only_hardened_ones(kind: Kind) -> None:
    ours = {DEMO, SYSTEM, kind.namespace("hardened"), *kind.namespaces}
    if kind.engine:  # all that runs in a cluster of our own is ours
        pods = listed(kind, "pods", "--all-namespaces")
        ours |= {pod["metadata"]["namespace"] for pod in pods} - (OTHERS - {"default"})
    labels = {one["metadata"]["name"]: one["metadata"].get("labels", {}) for one in listed(kind, "namespaces")}
    open_to_all = {name for name in ours & set(labels) if labels[name].get(ENFORCE) != "restricted"}
    assert open_to_all == set()


@pytest.mark.parametrize(
    "soft",
    [
        {"privileged": True, "allowPrivilegeEscalation": True},
        {"allowPrivilegeEscalation": True},
        {"runAsUser": 0},
        {"capabilities": {"add": ["NET_RAW"]}},
    ],
    ids=lambda soft: next(iter(soft)),
)
def test_a_pod_that_is_not_hardened_is_refused(kind: Kind, soft: dict[str, Any]) -> None:
    container = {"name": "soft", "image": "soft", "securityContext": {**HARDENED, **soft}}
    for namespace in (DEMO, SYSTEM, kind.namespaces[0]):
        with pytest.raises(CommandFailedError, match='violates PodSecurity "restricted'):
            make(kind, namespace, "v1", "Pod", "soft", pod_spec(container), "--dry-run=server")


# --- who may talk to whom


@pytest.fixture(scope="module")
def targets(kind: Kind) -> Iterator[Mapping[str, tuple[str, int]]]:
    """What a Job must not reach; each of them answers, and lets everybody in."""
    engine = kind.node.engine
    # A container beside the node: on this machine, and no part of the cluster.
    container = engine.docker("run", "--detach", "--network", NETWORK, kind.image_of()).strip()
    try:
        told = json.loads(engine.docker("inspect", container))[0]["NetworkSettings"]["Networks"][NETWORK]
        (node,) = listed(kind, "nodes")
        internal = next(one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP")
        (operator,) = kind.kube.objects("Pod", SYSTEM, label_selector="app.kubernetes.io/component=operator")
        addresses = (
            ("kubernetes.default.svc", 443),
            (internal, 10250),
            (operator["status"]["podIP"], 8080),
            (told["IPAddress"], 8080),
        )
        yield dict(zip(TARGETS, addresses, strict=True))
    finally:
        engine.docker("rm", "--force", "--volumes", container)


def bare_pod(kind: Kind, namespace: str, script: str) -> None:
    container = {
        "name": "probe",
        "image": kind.consumer_image(),
        "command": ["python", "-c", script],
        "securityContext": dict(HARDENED),
    }
    make(kind, namespace, "v1", "Pod", "probe", pod_spec(container))


def told_by(kind: Kind, namespace: str, container: str) -> dict[str, Any]:
    """Waits until the probe in a container has printed what it found."""

    def judge(pods: Mapping[str, Object]) -> str | None:
        ended = (name for name, pod in pods.items() if container_of(pod, container).get("state", {}).get("terminated"))
        return next(ended, None)

    what = f"the end of {container} in {namespace}"
    name = kind.kube.wait("Pod", namespace, judge, what=what, seconds=WAIT_SECONDS)
    log = kind.kube.core.read_namespaced_pod_log(name, namespace, container=container)
    (line,) = [line for line in log.splitlines() if line.startswith('{"probe"')]
    return dict(json.loads(line)["probe"])


@pytest.fixture(scope="module")
def probes(kind: Kind, targets: Mapping[str, tuple[str, int]]) -> Mapping[str, dict[str, Any]]:
    """What was found from a Pod that no policy speaks of, one that may do nothing, and the Jobs of both roles."""
    script = PROBE.format(targets=json.dumps(targets))
    free, denied = kind.namespace("free"), kind.namespace("denied")
    nothing = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    make(kind, denied, "networking.k8s.io/v1", "NetworkPolicy", "nothing", nothing)
    bare_pod(kind, free, script)
    bare_pod(kind, denied, script)

    owed = kind.owed("doors")
    helm = Helm(kind.workspace)
    for chart, settings in (
        ("provider", (f"networkPolicy.verifier.broker.namespace={DEMO}", "image.tag=1")),
        ("consumer", (f"networkPolicy.broker.namespace={DEMO}", "image.tag=1", "version=1")),
    ):
        folder = str(kind.workspace.root / "charts" / chart)
        only = ["--namespace", owed.namespace, "--show-only", "templates/networkpolicy.yaml"]
        only += ["--set", "pactProvider.create=true"] if chart == "provider" else []
        policies = helm.run(
            "template", chart, folder, *only, *(word for one in settings for word in ("--set-string", one))
        )
        kubectl(kind.workspace, "apply", "--filename", "-", stdin=policies)
    kind.provider(owed.namespace, owed.callee, container={"command": ["python", "-c", script + PROVIDE]})
    document = json.dumps(json.dumps(pact(owed.caller, owed.callee)))
    writes = f"open('/pacts/pact.json', 'w').write({document})"
    kind.consumer(owed.namespace, script + writes, owed.caller, version={"value": "2"}, branch="main")

    # Under their policies both still do their work: the broker and the names are reached.
    kind.wait(owed.namespace, "PactConsumer", "consumer", status="True", reason="Published")
    kind.wait(owed.namespace, "PactProvider", "provider", status="True", reason="AllVerified")
    return {
        "free": told_by(kind, free, "probe"),
        "denied": told_by(kind, denied, "probe"),
        "verifier": told_by(kind, owed.namespace, "provider"),
        "consumer": told_by(kind, owed.namespace, "tests"),
    }


@pytest.mark.parametrize("role", ["verifier", "consumer"])
def test_a_job_has_no_token(probes: Mapping[str, dict[str, Any]], role: str) -> None:
    assert probes[role]["token"] is False


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("role", ["verifier", "consumer"])
def test_a_job_does_not_reach(probes: Mapping[str, dict[str, Any]], role: str, target: str) -> None:
    assert probes["free"]["reached"][target], "nobody reaches it, so this would prove nothing"
    if probes["denied"]["reached"][target]:
        # A Pod for which every packet is forbidden gets through all the same.
        pytest.skip(NOT_ENFORCED)
    assert not probes[role]["reached"][target]


# --- rights


def granted(kind: Kind, namespace: str, account: str) -> set[tuple[str, str, str, tuple[str, ...]]]:
    """What a ServiceAccount may do in the demo's namespace, whatever role and binding says so."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": DEMO},
    }
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    as_account = ["--as", f"system:serviceaccount:{namespace}:{account}"]
    as_account += [word for group in groups for word in ("--as-group", group)]
    answer = kubectl(
        kind.workspace,
        "create",
        "--validate=false",
        *as_account,
        "--output",
        "json",
        "--filename",
        "-",
        stdin=json.dumps(review),
    )
    found = rights({"rules": json.loads(answer)["status"]["resourceRules"]})
    # What everybody may ask about himself.
    return {right for right in found if right[0] not in ("authorization.k8s.io", "authentication.k8s.io")}


def test_the_operator_has_the_rights_of_the_table_in_the_cluster(kind: Kind) -> None:
    assert granted(kind, SYSTEM, "pact-operator") == OPERATOR


def test_nobody_else_has_any_right(kind: Kind) -> None:
    for account in listed(kind, "serviceaccounts", "--namespace", DEMO):
        name = account["metadata"]["name"]
        if name == "pact-verify":  # of `skaffold verify`, which may have been here
            continue
        assert granted(kind, DEMO, name) == set(), name


# --- secrets


def secrets_of(kind: Kind, namespaces: Iterable[str]) -> dict[str, str]:
    """Every secret value of some namespaces in each form in which it may show: the form -> where it is from."""
    forms: dict[str, str] = {}
    for namespace in namespaces:
        for secret in listed(kind, "secrets", "--namespace", namespace):
            if secret["type"].startswith("helm.sh/"):
                continue
            values = {key: base64.b64decode(value) for key, value in secret.get("data", {}).items()}
            user = values.get("username", b"")
            for key, value in values.items():
                if key == "username" or len(value) < 8:
                    continue
                where = f"{namespace}/{secret['metadata']['name']} {key}"
                for form in (value, base64.b64encode(value), base64.b64encode(user + b":" + value)):
                    forms.setdefault(form.decode(errors="replace").rstrip("="), where)
                forms.setdefault(quote(value, safe=""), where)
    return forms


def test_no_secret_shows_in_logs_objects_events_or_process_lists(kind: Kind, command_lines: set[str]) -> None:
    wrong, unfit = kind.namespace("wrong"), kind.namespace("unfit")
    for name in BROKER_SECRETS:
        kind.secret(wrong, name, {"username": "readwrite", "password": unique("a-wrong-password")})
        kind.secret(unfit, name, {"token": unique("a-token-that-breaks\nits-line")})
    for namespace in (wrong, unfit):
        kind.broker_object(namespace)
        kind.wait(namespace, "PactBroker", "pact-broker", status="False", reason="BrokerUnauthorized")

    forms = secrets_of(kind, [DEMO, SYSTEM, *kind.namespaces])
    from_where = set(forms.values())
    for known in ("pact-broker-readonly password", "pact-broker-readwrite password"):
        assert f"{DEMO}/{known}" in from_where
    assert any(one.startswith(f"{DEMO}/pact-broker-postgres") for one in from_where), "no password of the database"
    assert any(one.startswith(f"{SYSTEM}/") and one.endswith("token") for one in from_where), "no token of the hooks"

    everywhere = ["--all-namespaces", "--output", "json"]
    kinds = "pods,jobs,deployments,replicasets,statefulsets,configmaps,services,pact"
    places = {
        "an object": kubectl(kind.workspace, "get", kinds, *everywhere),
        "an Event": kubectl(kind.workspace, "get", "events", *everywhere),
        "a log of a Pod": kind.node.run("cat /var/log/pods/*/*/*.log"),
        "a log of the node": kind.node.run(
            "cat /var/log/*.log 2> /dev/null; journalctl --no-pager 2> /dev/null; true", seconds=120
        ),
        "a command line": "\n".join(command_lines),
    }
    # Each place holds what it should, else a search in it would prove nothing.
    for place, word in zip(
        places, ("readwrite", "AllVerified", "PactProvider", "kubelet", "flask_provider"), strict=True
    ):
        assert word in places[place], f"{place} is not what it should be"
    shown = {f"{where} in {place}" for place, text in places.items() for form, where in forms.items() if form in text}
    assert shown == set()
