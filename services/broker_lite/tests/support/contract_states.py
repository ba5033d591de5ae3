"""Provider states of the official contract, set up through the store: public routes cannot choose uuids."""

from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import Session

from broker_lite.config import Settings
from broker_lite.store import deployments, pacticipants, pacts, results, versions, webhooks
from broker_lite.store.engine import Store
from broker_lite.store.models import Base, Environment, PactPublication, Version

_SETTINGS = Settings(database_url="")
_VERSION = "5556b8149bf8bac76bc30f50a8a2dd4c22c85f30"
_ENVIRONMENT = "cb632df3-0a0d-4227-aac3-60114dd36479"
_NAMED_ENVIRONMENT = "16926ef3-590f-4e3f-838e-719717aa88c9"
_DEPLOYED = "ff3adecf-cfc5-4653-a4e3-f1861092f8e0"
_WEBHOOK = "696c5f93-1b7f-44bc-8d03-59440fcaa9a0"


def _version(session: Session, name: str, number: str, *tags: str, branch: str | None = None) -> Version:
    row, _ = versions.ensure(session, name, number)
    if branch is not None:
        versions.add_to_branch(session, row, branch, _SETTINGS)
    for tag in tags:
        versions.put_tag(session, row, tag)
    return row


def _pact(
    session: Session, consumer: str, number: str, provider: str, content: str | None, *tags: str
) -> PactPublication:
    row = _version(session, consumer, number, *tags)
    interactions = [] if content is None else [{"description": content}]
    document = {"consumer": {"name": consumer}, "provider": {"name": provider}, "interactions": interactions}
    return pacts.publish(session, row, provider, document)


def _result(session: Session, pact: PactPublication, number: str, *tags: str, success: bool = True) -> None:
    version = _version(session, pact.provider.name, number, *tags)
    results.create(session, pact, version, {"success": success, "test_results": None, "verified_by": None})


def _environment(session: Session, name: str, uuid: str | None = None, contacts: Any = None) -> Environment:
    values = {"name": name, "display_name": name.capitalize(), "production": False, "contacts": contacts}
    row = deployments.create_environment(session, values, uuid)
    assert row is not None
    return row


def _condor_pact(session: Session, *tags: str) -> None:
    _pact(session, "Condor", "1.3.0", "Pricing Service", None, *tags)


def _pricing_service(session: Session) -> None:
    _version(session, "Pricing Service", "1.3.0")
    owner = pacticipants.get_or_create(session, "Pricing Service")
    owner.repository_url = "git@git.realestate.com.au:business-systems/pricing-service"


def _verified_foo(session: Session, consumer: str = "Foo") -> None:
    first = _pact(session, consumer, "1.2.3", "Bar", "1")
    _result(session, first, "4.5.6")
    _result(session, first, "7.8.9")
    later = _pact(session, consumer, "2.0.0", "Bar", "2")
    _result(session, later, "4.5.6")


def _two_foos(session: Session, second: str, *, tags: tuple[str, ...] = (), success: bool) -> None:
    _result(session, _pact(session, "Foo", "1.2.3", "Bar", "1"), "4.5.6", *tags)
    _result(session, _pact(session, "Foo", "1.2.4", "Bar", "2"), second, success=success)


def _foo_verified_twice(session: Session, *tags: str) -> None:
    pact = _pact(session, "Foo", "1.2.3", "Bar", "1")
    _result(session, pact, "4.5.6", *tags)
    _result(session, pact, "5.6.7")


def _all_foo_prod(session: Session) -> None:
    _result(session, _pact(session, "Foo", "1.2.3", "Bar", "1", "prod"), "4.5.6")
    _result(session, _pact(session, "Foo", "3.4.5", "Bar", "2", "prod"), "4.5.6", success=False)


def _foo_version(session: Session, *environments: tuple[str, str | None]) -> None:
    _version(session, "Foo", _VERSION)
    for name, uuid in environments:
        _environment(session, name, uuid)


def _deployed(session: Session, environment: str, target: str | None) -> None:
    version = _version(session, "Foo", _VERSION)
    row = _environment(session, "test", environment)
    deployments.record_deployment(session, version, row, target=target, identifier=_DEPLOYED)


def _webhook(session: Session) -> None:
    for name in ("Condor", "Pricing Service"):
        pacticipants.get_or_create(session, name)
    definition = {
        "consumer": {"name": "Condor"},
        "provider": {"name": "Pricing Service"},
        "request": {"method": "POST", "url": "https://webhook"},
    }
    webhooks.create(session, definition, _WEBHOOK)


def _both(session: Session) -> None:
    for name in ("Condor", "Pricing Service"):
        pacticipants.get_or_create(session, name)


def _nothing(_session: Session) -> None:
    """Nothing to set up."""


STATES: dict[str | None, Callable[[Session], object]] = {
    None: _nothing,
    "'Condor' does not exist in the pact-broker": _nothing,
    "'Condor' exists in the pact-broker": lambda s: _version(s, "Condor", "1.3.0"),
    "'Condor' exists in the pact-broker with the latest tagged 'production' version 1.2.3": lambda s: (
        _version(s, "Condor", "1.2.3", "production"),
        _version(s, "Condor", "2.0.0"),
    ),
    "'Condor' exists in the pact-broker with the latest version 1.2.3": lambda s: (
        _version(s, "Condor", "1.0.0"),
        _version(s, "Condor", "1.2.3"),
    ),
    "'Condor' exists in the pact-broker with version 1.3.0, tagged with 'prod'": lambda s: _version(
        s, "Condor", "1.3.0", "prod"
    ),
    "a branch named main exists for pacticipant Foo": lambda s: _version(s, "Foo", "1", branch="main"),
    "a currently deployed version exists": lambda s: _deployed(s, _ENVIRONMENT, None),
    "a latest pact between Condor and the Pricing Service exists": _condor_pact,
    "a pact between Condor and the Pricing Service exists": _condor_pact,
    "a pact between Condor and the Pricing Service exists for the production version of Condor": lambda s: _condor_pact(
        s, "prod"
    ),
    "a pacticipant with name Foo exists": lambda s: pacticipants.get_or_create(s, "Foo"),
    f"a webhook with the uuid {_WEBHOOK} exists": _webhook,
    "an environment exists": lambda s: _environment(
        s, "test", contacts=[{"name": "foo", "details": {"emailAddress": "foo@bar.com"}}]
    ),
    f"an environment with name test and UUID {_NAMED_ENVIRONMENT} exists": lambda s: _environment(
        s, "test", _NAMED_ENVIRONMENT
    ),
    "an environment with name test exists": lambda s: _environment(s, "test"),
    f"an version is deployed to environment with UUID {_NAMED_ENVIRONMENT} with target customer-1": lambda s: _deployed(
        s, _NAMED_ENVIRONMENT, "customer-1"
    ),
    "no pact between Condor and the Pricing Service exists": _nothing,
    "provider Bar version 4.5.6 has a successful verification for Foo version 1.2.3 tagged prod and a failed "
    "verification for version 3.4.5 tagged prod": _all_foo_prod,
    "tagged as prod pact between Condor and the Pricing Service exists": lambda s: _condor_pact(s, "prod"),
    "the 'Pricing Service' already exists in the pact-broker": _pricing_service,
    "the 'Pricing Service' and 'Condor' already exist in the pact-broker": _both,
    "the 'Pricing Service' and 'Condor' already exist in the pact-broker, and Condor already has a pact published for "
    "version 1.3.0": _condor_pact,
    "the 'Pricing Service' does not exist in the pact-broker": _nothing,
    "the pact for Foo Thing version 1.2.3 has been verified by Bar version 4.5.6": lambda s: _verified_foo(
        s, "Foo Thing"
    ),
    "the pact for Foo version 1.2.3 and 1.2.4 has been verified by Bar version 4.5.6": lambda s: _two_foos(
        s, "4.5.6", success=True
    ),
    "the pact for Foo version 1.2.3 has been successfully verified by Bar version 4.5.6 (tagged prod) and version "
    "5.6.7": lambda s: _foo_verified_twice(s, "prod"),
    "the pact for Foo version 1.2.3 has been successfully verified by Bar version 4.5.6 with tag prod, and 1.2.4 "
    "unsuccessfully by 9.9.9": lambda s: _two_foos(s, "9.9.9", tags=("prod",), success=False),
    "the pact for Foo version 1.2.3 has been successfully verified by Bar version 4.5.6, and 1.2.4 unsuccessfully by "
    "9.9.9": lambda s: _two_foos(s, "9.9.9", success=False),
    "the pact for Foo version 1.2.3 has been verified by Bar version 4.5.6": _verified_foo,
    "the pact for Foo version 1.2.3 has been verified by Bar version 4.5.6 and version 5.6.7": _foo_verified_twice,
    "the pacticipant relations are present": _nothing,
    "the pb:environments relation exists in the index resource": _nothing,
    "the pb:latest-tagged-version relation exists in the index resource": _nothing,
    "the pb:latest-version relation exists in the index resource": _nothing,
    "the pb:pacticipant-branch relation exists in the index resource": _nothing,
    "the pb:pacticipant-version and pb:environments relations exist in the index resource": _nothing,
    "the pb:publish-contracts relations exists in the index resource": _nothing,
    f"version {_VERSION} of pacticipant Foo exists with 2 environments that aren't test available for deployment": (
        lambda s: _foo_version(s, ("prod", None), ("dev", None))
    ),
    f"version {_VERSION} of pacticipant Foo exists with a test environment available for deployment": (
        lambda s: _foo_version(s, ("test", _ENVIRONMENT))
    ),
    f"version {_VERSION} of pacticipant Foo exists with a test environment available for release": (
        lambda s: _foo_version(s, ("test", _ENVIRONMENT))
    ),
}


def prepare(store: Store, state: str | None) -> None:
    """Empty the store and set up a state."""
    with store.transaction(writes=True) as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())
        STATES[state](session)
