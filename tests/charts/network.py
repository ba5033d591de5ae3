"""What NetworkPolicies allow, worked out as the API says it.

Source: https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.charts.charts import Manifest

NAMESPACE_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Endpoint:
    """Something that sends or receives packets.

    Attributes:
        name: For messages.
        namespace: Namespace of a Pod; empty for an address outside the cluster.
        labels: Labels of a Pod.
        address: Address of what is no Pod.
    """

    name: str
    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    address: str = "10.244.0.9"


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "matchExpressions are not worked out here"
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def _is_peer(peer: dict[str, Any], namespace: str, other: Endpoint) -> bool:
    if "ipBlock" in peer:
        return ipaddress.ip_address(other.address) in ipaddress.ip_network(peer["ipBlock"]["cidr"])
    if not other.namespace:
        return False
    if "namespaceSelector" in peer:
        if not _selects(peer["namespaceSelector"], {NAMESPACE_LABEL: other.namespace}):
            return False
    elif other.namespace != namespace:
        return False
    return _selects(peer.get("podSelector", {}), other.labels)


def _has_port(rule: dict[str, Any], port: int, protocol: str) -> bool:
    ports = rule.get("ports", [])
    return not ports or any(p["port"] == port and p.get("protocol", "TCP") == protocol for p in ports)


def _lets(policies: Iterable[Manifest], way: str, subject: Endpoint, other: Endpoint, port: int, protocol: str) -> bool:
    key = {"Ingress": "from", "Egress": "to"}[way]
    mine = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == subject.namespace
        and way in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], subject.labels)
    ]
    if not mine:
        return True
    return any(
        _has_port(rule, port, protocol)
        and (not rule.get(key) or any(_is_peer(peer, subject.namespace, other) for peer in rule[key]))
        for policy in mine
        for rule in policy["spec"].get(way.lower(), [])
    )


def allows(policies: Sequence[Manifest], source: Endpoint, target: Endpoint, port: int, protocol: str = "TCP") -> bool:
    """Whether a packet gets from source to target: out of the one and into the other.

    Args:
        policies: All NetworkPolicies of the cluster.
        source: Who sends.
        target: Who is to receive.
        port: Port of the target's Pod (not of a Service).
        protocol: TCP or UDP.
    """
    return _lets(policies, "Egress", source, target, port, protocol) and _lets(
        policies, "Ingress", target, source, port, protocol
    )
