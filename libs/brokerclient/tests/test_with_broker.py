"""The client against a running broker: each method once, on names that need encoding."""

from collections.abc import Iterator

import pytest

from brokerclient import BasicAuth, BrokerClient, BrokerUnauthorized, Conflict, InvalidRequest, NotFound
from tests.support.broker import READER, WRITER, running_broker

CONSUMER, PROVIDER = "web/shop naïve+1", "users & more"
VERSION, PROVIDER_VERSION, BRANCH = "1.0+build/7", "2.0 β", "feat/%2Fx"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_broker(tmp_path_factory.mktemp("broker")) as it:
        yield it


def test_the_whole_life_of_a_contract(url: str) -> None:
    client = BrokerClient(url, auth=BasicAuth(*WRITER))
    client.check()
    client.heartbeat()
    assert client.ensure_pacticipant(CONSUMER, main_branch=BRANCH).main_branch == BRANCH
    assert client.ensure_pacticipant(CONSUMER, main_branch=BRANCH).name == CONSUMER
    assert client.pacticipant("nobody") is None
    assert client.verification_results(PROVIDER, PROVIDER_VERSION) == []
    assert client.pacts_for_verification(PROVIDER, selectors=[]) == []

    pact = {
        "consumer": {"name": CONSUMER},
        "provider": {"name": PROVIDER},
        "interactions": [{"description": "ünïcode", "request": {"method": "GET", "path": "/"}, "response": {}}],
        "metadata": {"pactSpecification": {"version": "2.0.0"}},
    }
    published = client.publish_contracts(CONSUMER, VERSION, [pact], branch=BRANCH)
    assert [one.provider for one in published.pacts] == [PROVIDER]
    with pytest.raises(Conflict) as conflict:
        client.publish_contracts(CONSUMER, VERSION, [pact | {"interactions": []}], branch=BRANCH)
    assert "ünïcode" in conflict.value.text
    assert [(one.consumer, one.consumer_version) for one in client.latest_pacts()] == [(CONSUMER, VERSION)]

    (owed,) = client.pacts_for_verification(
        PROVIDER, selectors=[{"mainBranch": True}], provider_branch="main", include_pending=True
    )
    assert (owed.consumer, owed.pending) == (CONSUMER, True)
    document = client.get_pact(owed.url)
    assert document["interactions"][0]["description"] == "ünïcode"

    client.ensure_branch_version(PROVIDER, BRANCH, PROVIDER_VERSION)
    link = document["_links"]["pb:publish-verification-results"]["href"]
    results = [{"interactionId": document["interactions"][0]["_id"], "success": False}]
    posted = client.publish_verification_result(
        link, provider_version=PROVIDER_VERSION, success=False, test_results=results
    )
    assert (posted.success, posted.provider_version) == (False, PROVIDER_VERSION)
    client.publish_verification_result(link, provider_version=PROVIDER_VERSION, success=True)
    (result,) = client.verification_results(PROVIDER, PROVIDER_VERSION)
    assert (result.consumer, result.consumer_version, result.content_sha, result.success) == (
        CONSUMER,
        VERSION,
        owed.content_sha,
        True,
    )
    assert client.verification_result(result.url).success is True
    assert client.verification_results(PROVIDER, "no such version") == []
    version = client.version(PROVIDER, PROVIDER_VERSION)
    assert version is not None
    assert [branch.name for branch in version.branches] == [BRANCH]

    production = client.ensure_environment("production", production=True)
    assert client.ensure_environment("production") == production
    assert client.can_i_deploy(CONSUMER, VERSION, environment="production").deployable is None
    with pytest.raises(NotFound):
        client.record_deployment(PROVIDER, "no such version", production.uuid)
    deployed = client.record_deployment(PROVIDER, PROVIDER_VERSION, production.uuid, application_instance="blue")
    assert (
        client.record_deployment(PROVIDER, PROVIDER_VERSION, production.uuid, application_instance="blue") == deployed
    )
    assert client.currently_deployed(production.uuid, PROVIDER) == [deployed]
    answer = client.can_i_deploy(CONSUMER, VERSION, environment="production")
    assert (answer.deployable, len(answer.rows), answer.rows[0].provider_version) == (True, 1, PROVIDER_VERSION)
    with pytest.raises(InvalidRequest):
        client.can_i_deploy(CONSUMER, VERSION, environment="nowhere")
    assert client.record_undeployment(deployed.uuid).currently_deployed is False
    assert client.currently_deployed(production.uuid) == []
    released = client.record_release(PROVIDER, PROVIDER_VERSION, production.uuid)
    assert client.currently_supported(production.uuid) == [released]


def test_webhooks_are_put_under_our_id(url: str) -> None:
    client = BrokerClient(url, auth=BasicAuth(*WRITER))
    uuid = "pact-operator-hook-0001"
    definition = {
        "description": "ours",
        "events": [{"name": "contract_content_changed"}],
        "request": {"method": "POST", "url": "https://hooks.example.com/x", "headers": {"Authorization": "Bearer s"}},
    }
    assert client.webhook(uuid) is None
    assert client.put_webhook(uuid, definition).uuid == uuid
    assert client.put_webhook(uuid, definition | {"description": "still ours"}).description == "still ours"
    found = client.webhook(uuid)
    assert found is not None
    assert found.definition["request"]["headers"]["authorization"] != "Bearer s"
    with pytest.raises(InvalidRequest) as refused:
        client.put_webhook(uuid, definition | {"request": {"method": "POST", "url": "http://plain.example.com"}})
    assert "scheme" in str(refused.value)
    assert (client.delete_webhook(uuid), client.delete_webhook(uuid)) == (True, False)


def test_reading_is_not_writing(url: str) -> None:
    reader = BrokerClient(url, auth=BasicAuth(*READER))
    reader.check()
    assert isinstance(reader.environments(), list)
    with pytest.raises(BrokerUnauthorized, match="may only read"):
        reader.ensure_branch_version("p", "main", "1")
    with pytest.raises(BrokerUnauthorized, match="none are configured"):
        BrokerClient(url).check()
