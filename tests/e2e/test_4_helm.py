"""The releases: their own tests, an upgrade, and an uninstall that loses nothing."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from pact_cluster.demo import demo
from pact_cluster.demo_broker import matrix
from pact_cluster.demo_kube import Object
from pact_cluster.demo_releases import BROKER, CONSUMER, DEMO, FLASK, PROVIDERS, SYSTEM, Helm, provider
from tests.support.kind import Kind, condition

RELEASES = {"pact-operator": SYSTEM, BROKER: DEMO, CONSUMER: DEMO, **dict.fromkeys(PROVIDERS, DEMO)}


def test_the_tests_of_every_release_pass(kind: Kind) -> None:
    helm = Helm(kind.workspace)

    def passes(release: str) -> str:
        return helm.run("test", release, "--namespace", RELEASES[release], "--timeout", "3m")

    with ThreadPoolExecutor(max_workers=2) as pool:
        for release, told in zip(RELEASES, pool.map(passes, RELEASES), strict=True):
            assert "Succeeded" in told, f"{release}: {told}"


def test_an_upgrade_with_other_values_takes_effect_and_runs_nothing_again(kind: Kind) -> None:
    helm = Helm(kind.workspace)
    before = {job["metadata"]["uid"] for job in kind.jobs(DEMO)}
    release = provider(FLASK, kind.image_of(FLASK))
    changed = {**release.values["pactProvider"], "run": {"infraRetries": 3}}
    helm.apply(
        type(release)(
            release.name, release.chart, release.namespace, {**release.values, "pactProvider": changed, "replicas": 2}
        )
    )
    try:
        found = kind.kube.get("PactProvider", DEMO, FLASK)
        assert found
        assert found["spec"]["run"]["infraRetries"] == 3

        def two(deployments: Mapping[str, Object]) -> bool | None:
            return True if deployments[FLASK].get("status", {}).get("readyReplicas") == 2 else None

        kind.kube.wait("Deployment", DEMO, two, what="two ready Pods", seconds=90)
        kind.wait(DEMO, "PactProvider", FLASK, status="True", reason="AllVerified")
    finally:
        helm.apply(release)
    kind.wait(DEMO, "PactProvider", FLASK, status="True", reason="AllVerified")
    assert {job["metadata"]["uid"] for job in kind.jobs(DEMO)} == before, "other settings are no reason for another run"


def test_an_uninstalled_broker_leaves_its_data_and_comes_back_with_it(kind: Kind) -> None:
    with kind.broker_client() as client:
        before = {
            (v.consumer_version, v.provider, v.provider_version, v.success) for v in matrix(client, CONSUMER, PROVIDERS)
        }
    assert before
    Helm(kind.workspace).run("uninstall", BROKER, "--namespace", DEMO, "--timeout", "3m")
    gone = kind.kube.wait(
        "PactBroker", DEMO, lambda s: True if not s else None, what="no PactBroker any more", seconds=90
    )
    assert gone
    claims = kind.kube.objects("PersistentVolumeClaim", DEMO)
    assert [claim["status"]["phase"] for claim in claims] == ["Bound"]
    kind.wait(DEMO, "PactProvider", FLASK, status="False", reason="BrokerNotFound")

    assert demo(kind.workspace) == 0
    with kind.broker_client() as client:
        after = {
            (v.consumer_version, v.provider, v.provider_version, v.success) for v in matrix(client, CONSUMER, PROVIDERS)
        }
    assert before <= after
    assert condition(kind.kube.get("PactProvider", DEMO, FLASK)).status == "True"
