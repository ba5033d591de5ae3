"""The operator's rights, verb by verb, and who may talk to whom, Pod by Pod."""

from collections.abc import Sequence
from typing import Any

import pytest

from pact_operator.api import names
from tests.charts.charts import Helm, Manifest, of_kind, pod_templates
from tests.charts.network import Endpoint, allows

GROUP = "pact-operator.dev"
BROKER_SECRETS = ("pact-broker-readonly", "pact-broker-readwrite")

# (API group, resource, verb, names it is limited to). Every row is one thing that the operator does.
OPERATOR = {
    *((GROUP, "pactbrokers", verb, ()) for verb in ("list", "watch", "patch")),
    *((GROUP, "pactconsumers", verb, ()) for verb in ("list", "watch")),
    *((GROUP, "pactproviders", verb, ()) for verb in ("list", "watch")),
    *((GROUP, "pactverifications", verb, ()) for verb in ("get", "list", "watch", "create", "delete")),
    (GROUP, "pactbrokers/status", "patch", ()),
    (GROUP, "pactconsumers/status", "patch", ()),
    (GROUP, "pactproviders/status", "patch", ()),
    (GROUP, "pactverifications/status", "patch", ()),
    *(("batch", "jobs", verb, ()) for verb in ("get", "list", "watch", "create")),
    *(("", "pods", verb, ()) for verb in ("list", "watch")),
    *(("apps", "deployments", verb, ()) for verb in ("list", "watch")),
    *(("", "events", verb, ()) for verb in ("create", "list")),  # list: why a Job of ours gets no Pod
    ("", "secrets", "get", BROKER_SECRETS),
}
WRITE = ("create", "update", "patch", "delete", "deletecollection")
KINDS = ("pactbrokers", "pactconsumers", "pactproviders", "pactverifications")
PEOPLE = {
    "pact-operator-view": {(GROUP, kind, verb, ()) for kind in KINDS for verb in ("get", "list", "watch")},
    "pact-operator-edit": {(GROUP, kind, verb, ()) for kind in KINDS[1:] for verb in WRITE},
    "pact-operator-admin": {(GROUP, "pactbrokers", verb, ()) for verb in WRITE},
}
AGGREGATED = {
    "pact-operator-view": {"view", "edit", "admin"},
    "pact-operator-edit": {"edit", "admin"},
    "pact-operator-admin": {"admin"},
}

Right = tuple[str, str, str, tuple[str, ...]]


def rights(role: Manifest) -> set[Right]:
    """The rights of a role, one by one."""
    return {
        (group, resource, verb, tuple(rule.get("resourceNames", ())))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def _by_name(manifests: Sequence[Manifest], *kinds: str) -> dict[str, Manifest]:
    return {manifest["metadata"]["name"]: manifest for manifest in of_kind(manifests, *kinds)}


def test_the_operators_rights_are_exactly_these(helm: Helm) -> None:
    manifests = helm.manifests("pact-operator", namespace="pact-system")
    roles = _by_name(manifests, "ClusterRole", "Role")
    assert rights(roles.pop("pact-operator")) == OPERATOR
    assert {name: rights(role) for name, role in roles.items()} == PEOPLE
    (binding,) = of_kind(manifests, "ClusterRoleBinding", "RoleBinding")
    assert binding["roleRef"]["name"] == "pact-operator"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "pact-operator", "namespace": "pact-system"}]


def test_peoples_rights_reach_them_through_the_clusters_roles(helm: Helm) -> None:
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    aggregated = {
        role["metadata"]["name"]: {
            key.removeprefix(prefix) for key in role["metadata"]["labels"] if key.startswith(prefix)
        }
        for role in of_kind(helm.manifests("pact-operator"), "ClusterRole")
    }
    assert aggregated == {"pact-operator": set(), **AGGREGATED}


def test_in_named_namespaces_the_rights_are_the_same_and_end_there(helm: Helm) -> None:
    manifests = helm.manifests(
        "pact-operator",
        namespace="pact-system",
        settings=["watchNamespaces={pact-demo,team-a}", "rbac.brokerSecretNames={one}", "rbac.aggregate=false"],
    )
    expected = {right for right in OPERATOR if right[1] != "secrets"} | {("", "secrets", "get", ("one",))}
    roles = of_kind(manifests, "Role")
    assert [(role["metadata"]["namespace"], rights(role)) for role in roles] == [
        ("pact-demo", expected),
        ("team-a", expected),
    ]
    bindings = of_kind(manifests, "RoleBinding")
    assert [binding["metadata"]["namespace"] for binding in bindings] == ["pact-demo", "team-a"]
    assert all(binding["subjects"][0]["namespace"] == "pact-system" for binding in bindings)
    assert of_kind(manifests, "ClusterRole", "ClusterRoleBinding") == []


def test_no_secret_may_be_read_where_none_is_named(helm: Helm) -> None:
    manifests = helm.manifests("pact-operator", settings=["rbac.brokerSecretNames=null"])
    # Without names a rule would mean every Secret of the cluster.
    assert {
        right for right in rights(_by_name(manifests, "ClusterRole")["pact-operator"]) if right[1] == "secrets"
    } == set()


@pytest.mark.parametrize("chart", ["consumer", "pact-broker", "provider"])
def test_no_other_chart_gives_a_right(helm: Helm, chart: str) -> None:
    assert of_kind(helm.manifests(chart), "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding") == []


@pytest.fixture(scope="module")
def demo(helm: Helm) -> list[Manifest]:
    """All that runs in a cluster with the operator, a broker, both providers and the consumer."""
    return [
        *helm.manifests("pact-operator", namespace="pact-system"),
        *helm.manifests("pact-broker", settings=["databaseClean.enabled=true", "pactBroker.create=true"]),
        *helm.manifests(
            "provider", release="flask-provider", settings=["pactProvider.create=true", "gate.enabled=true"]
        ),
        *helm.manifests(
            "provider",
            release="fastapi-provider",
            settings=["pactProvider.create=true", "image.repository=pact-operator/fastapi-provider"],
        ),
        *helm.manifests("consumer", release="users-consumer"),
    ]


# Every Pod that the charts bring about, by the object that describes it.
PODS = {
    "Deployment pact-system/pact-operator": "operator",
    "Deployment pact-demo/pact-broker": "broker",
    "StatefulSet pact-demo/pact-broker-postgres": "postgres",
    "CronJob pact-demo/pact-broker-clean": "clean",
    "Deployment pact-demo/flask-provider": "flask",
    "Deployment pact-demo/fastapi-provider": "fastapi",
    "Job pact-demo/flask-provider-gate": "gate",
    "PactProvider pact-demo/flask-provider": "verifier",
    "PactProvider pact-demo/fastapi-provider": "other verifier",
    "PactConsumer pact-demo/users-consumer": "consumer",
}
# Those of `helm test`; each carries the labels of one above, or none that a policy speaks of.
TESTS = {
    "Pod pact-system/pact-operator-test",
    "Pod pact-demo/pact-broker-test",
    "Pod pact-demo/flask-provider-test",
    "Pod pact-demo/fastapi-provider-test",
    "Pod pact-demo/users-consumer-test",
}


def _endpoints(manifests: Sequence[Manifest]) -> dict[str, Endpoint]:
    found = {
        PODS[template.where]: Endpoint(PODS[template.where], template.namespace, template.labels)
        for template in pod_templates(manifests)
        if template.where in PODS
    }
    assert set(found) == set(PODS.values())
    return found | {
        "neighbour": Endpoint("neighbour", "pact-demo", {"app": "neighbour"}),
        "stranger": Endpoint("stranger", "elsewhere", {"app": "stranger"}),
        "dns": Endpoint("dns", "kube-system", {"k8s-app": "kube-dns"}),
        "api server": Endpoint("api server", address="192.0.2.10"),
        "internet": Endpoint("internet", address="203.0.113.10"),
        # Where clouds hand out a node's credentials to whoever asks.
        "metadata": Endpoint("metadata", address="169.254.169.254"),
    }


# Where a packet could be sent in the demo: name and port.
TARGETS = [
    ("operator", 8080),
    ("operator", 8081),
    ("broker", 9292),
    ("postgres", 5432),
    ("flask", 8080),
    ("fastapi", 8080),
    ("verifier", 8080),
    ("other verifier", 8080),
    ("consumer", 8080),
    ("dns", 53),
    ("api server", 6443),
    ("internet", 443),
    ("internet", 80),
    ("metadata", 80),
    ("neighbour", 8080),
    ("stranger", 8080),
]
# What gets through: everything that is not here must not.
WAYS = {
    "operator": {("broker", 9292), ("dns", 53), ("api server", 6443), ("internet", 443)},
    "broker": {("postgres", 5432), ("operator", 8080), ("dns", 53)},
    "postgres": set(),
    "clean": {("postgres", 5432), ("dns", 53)},
    "flask": {("dns", 53)},
    "fastapi": {("dns", 53)},
    "verifier": {("broker", 9292), ("dns", 53)},
    "other verifier": {("broker", 9292), ("dns", 53)},
    "consumer": {("broker", 9292), ("dns", 53)},
    "gate": {("operator", 8080), ("dns", 53)},
    "neighbour": {
        ("operator", 8080),
        ("broker", 9292),
        ("flask", 8080),
        ("fastapi", 8080),
        ("dns", 53),
        ("api server", 6443),
        ("internet", 443),
        ("internet", 80),
        ("metadata", 80),
        ("stranger", 8080),
    },
    "stranger": {
        ("operator", 8080),
        ("dns", 53),
        ("api server", 6443),
        ("internet", 443),
        ("internet", 80),
        ("metadata", 80),
        ("neighbour", 8080),
    },
}


def test_no_pod_is_missing_in_the_table(demo: list[Manifest]) -> None:
    described = {template.where for template in pod_templates(demo)}
    assert described == set(PODS) | TESTS
    assert set(WAYS) == {*PODS.values(), "neighbour", "stranger"}, "a source has no row"


def test_what_no_rule_allows_is_denied_to_each_of_our_pods(demo: list[Manifest]) -> None:
    policies, endpoints = of_kind(demo, "NetworkPolicy"), _endpoints(demo)
    somewhere = Endpoint("somewhere", "elsewhere", {"app": "somewhere"})
    for name in PODS.values():
        assert not allows(policies, endpoints[name], somewhere, 1), f"{name} may send anywhere"
        assert not allows(policies, somewhere, endpoints[name], 1), f"anybody may send to {name}"


def test_the_policies_of_jobs_select_the_pods_that_the_operator_makes(demo: list[Manifest]) -> None:
    endpoints = _endpoints(demo)
    for verifier in ("verifier", "other verifier"):
        assert endpoints[verifier].labels == {names.LABEL_ROLE: names.ROLE_VERIFIER}
    assert endpoints["consumer"].labels == {names.LABEL_ROLE: names.ROLE_CONSUMER}


def test_who_may_talk_to_whom(demo: list[Manifest]) -> None:
    policies, endpoints = of_kind(demo, "NetworkPolicy"), _endpoints(demo)
    found = {
        source: {
            (target, port)
            for target, port in TARGETS
            if target != source and allows(policies, endpoints[source], endpoints[target], port)
        }
        for source in WAYS
    }
    assert found == WAYS


def test_names_are_asked_for_over_udp(demo: list[Manifest]) -> None:
    policies, endpoints = of_kind(demo, "NetworkPolicy"), _endpoints(demo)
    asking = {name for name in WAYS if allows(policies, endpoints[name], endpoints["dns"], 53, "UDP")}
    assert asking == set(WAYS) - {"postgres"}


def _policies(helm: Helm, chart: str, *settings: str) -> list[dict[str, Any]]:
    return of_kind(helm.manifests(chart, settings=settings), "NetworkPolicy")


@pytest.mark.parametrize(
    ("chart", "prefix", "role"),
    [
        ("provider", "networkPolicy.verifier.broker", "verifier"),
        ("consumer", "networkPolicy.broker", "consumer"),
    ],
)
def test_a_broker_elsewhere_is_reached_and_the_one_here_is_not(helm: Helm, chart: str, prefix: str, role: str) -> None:
    runner = Endpoint(role, "pact-demo", {f"{GROUP}/role": role})
    labels = {"app.kubernetes.io/name": "pact-broker", "app.kubernetes.io/component": "broker"}
    here, there = Endpoint("here", "pact-demo", labels), Endpoint("there", "brokers", labels)
    outside = Endpoint("outside", address="198.51.100.7")
    create = "pactProvider.create=true" if chart == "provider" else "suspend=false"
    by_namespace = _policies(helm, chart, create, f"{prefix}.namespace=brokers")
    assert allows(by_namespace, runner, there, 9292)
    assert not allows(by_namespace, runner, here, 9292)
    by_address = _policies(helm, chart, create, f"{prefix}.cidr=198.51.100.0/24", f"{prefix}.port=443")
    assert allows(by_address, runner, outside, 443)
    assert not allows(by_address, runner, here, 443)
    assert not allows(by_address, runner, Endpoint("other", address="203.0.113.10"), 443)


def test_a_live_service_is_reached_by_verifiers_only_when_it_is_the_target(helm: Helm) -> None:
    runner = Endpoint("verifier", "pact-demo", {f"{GROUP}/role": "verifier"})
    labels = {
        "app.kubernetes.io/name": "provider",
        "app.kubernetes.io/instance": "provider",
        "app.kubernetes.io/component": "provider",
    }
    live = Endpoint("live", "pact-demo", labels)
    assert allows(
        _policies(helm, "provider", "pactProvider.create=true", "pactProvider.target=service"), runner, live, 8080
    )
    assert not allows(_policies(helm, "provider", "pactProvider.create=true"), runner, live, 8080)


@pytest.mark.parametrize("chart", ["consumer", "pact-broker", "pact-operator", "provider"])
def test_policies_can_be_left_to_others(helm: Helm, chart: str) -> None:
    assert _policies(helm, chart) != []
    assert _policies(helm, chart, "networkPolicy.enabled=false") == []
