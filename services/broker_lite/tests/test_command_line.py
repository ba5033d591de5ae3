"""Every sub-command of the pact command line against a served instance: it works, or the README says that it does not.

The sub-commands are those that the installed program lists, so a new one is missed here at once.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker_lite.config import Credentials, Settings
from broker_lite.domain.webhook_rules import AllowLists
from broker_lite.store.engine import Store, connect
from services.broker_lite.tests.support import commands
from services.broker_lite.tests.support.server import Served, pact, serve

README = (Path(__file__).parents[1] / "README.md").read_text()
HOOK = "webhook-of-the-command-line"
DOOMED_HOOK = "webhook-that-is-to-be-deleted"
ELSEWHERE = {"broker ruby", "broker docker"}
"""These speak to no broker: they start the reference one."""
REFUSED = {"pactflow publish-provider-contract"}
"""These need what only PactFlow has."""


@dataclass
class World:
    """A filled instance, and what the commands are told of it."""

    served: Served
    directory: Path
    names: dict[str, str]

    def run(self, *arguments: str) -> commands.Done:
        environ = {
            "PACT_BROKER_BASE_URL": self.served.url,
            "PACT_BROKER_USERNAME": "rw",
            "PACT_BROKER_PASSWORD": "secret",
        }
        filled = [one.format_map(self.names) if one.startswith("{") else one for one in arguments]
        return commands.pact(*filled, environ=environ, directory=self.directory)

    def status(self, path: str) -> int:
        return self.served.send("GET", path).status


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("commands")
    store = Store(connect(f"sqlite:///{directory}/store.db"))
    settings = Settings(
        database_url="",
        writer=Credentials("rw", "secret"),
        allow_lists=AllowLists(hosts=("127.0.0.1",), schemes=("http",)),
    )
    with serve(settings, store) as served:
        served.headers["authorization"] = "Basic cnc6c2VjcmV0"
        yield World(served, directory, _fill(served, directory))
    store.close()


def _fill(served: Served, directory: Path) -> dict[str, str]:
    """Names with everything in them that a URL minds."""
    document = pact("C x", "P/y")
    document["interactions"][0]["providerState"] = "a user exists"
    (directory / "pact.json").write_text(json.dumps(document))
    ok = served.ok
    ok("POST", "/pacticipants", {"name": "C x", "mainBranch": "feat/x+y"})
    ok("POST", "/pacticipants", {"name": "P/y", "mainBranch": "main"})
    version = "/pacts/provider/P%2Fy/consumer/C%20x/version/1%2B1"
    ok("PUT", "/pacticipants/C%20x/branches/feat%2Fx%2By/versions/1%2B1", {})
    ok("PUT", version, document)
    ok("PUT", "/pacticipants/P%2Fy/branches/main/versions/p%201", {})
    ok("PUT", "/pacticipants/P%2Fy/branches/old%2F1/versions/p%201", {})
    ok("PUT", "/pacticipants/P%2Fy/versions/p%201/tags/old%2Ft", {})
    link = ok("GET", version)["_links"]["pb:publish-verification-results"]["href"].removeprefix(served.url)
    ok("POST", link, {"success": True, "providerApplicationVersion": "p 1"})
    test = ok("POST", "/environments", {"name": "test", "production": False})["uuid"]
    doomed = ok("POST", "/environments", {"name": "doomed", "production": False})["uuid"]
    for instance in ({}, {"applicationInstance": "blue"}):
        ok("POST", f"/pacticipants/P%2Fy/versions/p%201/deployed-versions/environment/{test}", instance)
    ok("POST", f"/pacticipants/C%20x/versions/1%2B1/deployed-versions/environment/{test}", {})
    ok("POST", f"/pacticipants/P%2Fy/versions/p%201/released-versions/environment/{test}", {})
    for uuid in (HOOK, DOOMED_HOOK):
        sent = {"method": "POST", "url": "http://127.0.0.1:1/refused"}
        ok("PUT", f"/webhooks/{uuid}", {"events": [{"name": "contract_published"}], "request": sent})
    return {"test": test, "doomed": doomed}


Check = Callable[[World], bool]


@dataclass(frozen=True)
class Use:
    """One use of a sub-command: arguments, exit code, what is said, what is found in the broker afterwards."""

    command: str
    arguments: tuple[str, ...] = ()
    says: str = ""
    code: int = 0
    leaves: Check = lambda world: True


def _found(path: str) -> Check:
    return lambda world: world.status(path) == 200


def _gone(path: str) -> Check:
    return lambda world: world.status(path) == 404


def _deployments(instance: str) -> Check:
    def check(world: World) -> bool:
        path = (
            f"/environments/{world.names['test']}/deployed-versions/currently-deployed?applicationInstance={instance}"
        )
        return bool(world.served.ok("GET", path)["_embedded"]["deployedVersions"])

    return check


def _not(check: Check) -> Check:
    return lambda world: not check(world)


C, P, TEST = ("--pacticipant", "C x"), ("--pacticipant", "P/y"), ("--environment", "test")
PV = (*P, "--version", "p 1")
USES = [
    Use(
        "broker publish",
        ("pact.json", "--consumer-app-version", "2/2", "--branch", "feat/x+y", "--tag", "dev +"),
        "Pact successfully published for C x version 2/2 and provider P/y",
        leaves=_found("/pacts/provider/P%2Fy/consumer/C%20x/latest/dev%20%2B"),
    ),
    Use("broker list-latest-pact-versions", (), '"C x"'),
    Use("broker get-pacts", ("--provider", "P/y"), "Pact between C x"),
    Use("broker get-pacts", ("--provider", "P/y", "--branch", "feat/x+y", "--latest"), "Pact between C x"),
    Use("broker get-pacts", ("--provider", "P/y", "--latest", "--download"), "P_y"),
    Use("broker create-environment", ("--name", "new", "--production"), "new", leaves=_found("/environments?name=new")),
    Use("broker create-environment", ("--name", "test"), "name", code=1),
    Use(
        "broker update-environment",
        ("--uuid", "{doomed}", "--name", "doomed", "--display-name", "Soon gone"),
        leaves=lambda world: (
            world.served.ok("GET", f"/environments/{world.names['doomed']}")["displayName"] == "Soon gone"
        ),
    ),
    Use("broker describe-environment", ("--uuid", "{test}"), "Name: test"),
    Use("broker list-environments", (), "{test}"),
    Use(
        "broker delete-environment",
        ("--uuid", "{doomed}"),
        "deleted",
        leaves=lambda world: world.status(f"/environments/{world.names['doomed']}") == 404,
    ),
    Use("broker can-i-deploy", (*PV, "--to-environment", "test"), "Computer says yes"),
    Use(
        "broker can-i-deploy",
        (*C, "--version", "1+1", "--to-environment", "test"),
        "All required verification results are published and successful",
    ),
    Use("broker can-i-deploy", (*C, "--version", "unknown", "--to-environment", "test"), "Computer says no", code=1),
    Use("broker can-i-merge", (*C, "--version", "1+1"), "All required verification results"),
    Use(
        "broker record-deployment",
        (*PV, *TEST, "--application-instance", "green"),
        "Recorded deployment",
        leaves=_deployments("green"),
    ),
    Use("broker record-deployment", (*P, "--version", "unknown", *TEST), "unknown", code=1),
    Use(
        "broker record-undeployment",
        (*P, *TEST, "--application-instance", "blue"),
        "Undeployed P/y",
        leaves=_not(_deployments("blue")),
    ),
    Use("broker record-undeployment", (*P, *TEST, "--application-instance", "pink"), code=1),
    Use(
        "broker record-release",
        (*C, "--version", "1+1", *TEST),
        "Recorded release",
        leaves=lambda world: world.served.ok(
            "GET", f"/pacticipants/C%20x/versions/1%2B1/released-versions/environment/{world.names['test']}"
        )["_embedded"]["releasedVersions"][0]["currentlySupported"],
    ),
    Use(
        "broker record-support-ended",
        (*PV, *TEST),
        "Recorded support ended",
        leaves=lambda world: (
            not world.served.ok(
                "GET", f"/environments/{world.names['test']}/released-versions/currently-supported?pacticipant=P%2Fy"
            )["_embedded"]["releasedVersions"]
        ),
    ),
    Use(
        "broker create-or-update-pacticipant",
        ("--name", "N/ew", "--main-branch", "trunk"),
        leaves=lambda world: world.served.ok("GET", "/pacticipants/N%2Few")["mainBranch"] == "trunk",
    ),
    Use("broker describe-pacticipant", ("--name", "C x"), "Main Branch: feat/x+y"),
    Use("broker list-pacticipants", (), "P/y"),
    Use(
        "broker create-or-update-version",
        (*P, "--version", "p/3", "--branch", "b 3", "--tag", "t+3"),
        leaves=_found("/pacticipants/P%2Fy/versions/p%2F3/tags/t%2B3"),
    ),
    Use(
        "broker create-version-tag",
        (*P, "--version", "p/4", "--tag", "t/4", "--auto-create-version"),
        leaves=_found("/pacticipants/P%2Fy/versions/p%2F4/tags/t%2F4"),
    ),
    Use(
        "broker delete-version-tag",
        (*PV, "--tag", "old/t"),
        leaves=_gone("/pacticipants/P%2Fy/versions/p%201/tags/old%2Ft"),
    ),
    Use("broker describe-version", PV, "p 1"),
    Use("broker describe-version", (*P, *TEST, "--deployed"), "Deployed"),
    Use("broker describe-version", C),
    Use("broker delete-branch", (*P, "--branch", "old/1"), leaves=_gone("/pacticipants/P%2Fy/branches/old%2F1")),
    Use("broker delete-branch", (*P, "--branch", "unknown"), "not found"),
    Use("broker provider-states list", ("--provider", "P/y"), "a user exists"),
    Use("broker provider-states list", ("--provider", "P/y", "--branch", "feat/x+y"), "a user exists"),
    Use("broker provider-states list", ("--provider", "P/y", "--branch", "unknown"), "No provider states found"),
    Use("broker provider-states list", ("--provider", "P/y", "--environment", "test"), "a user exists"),
    Use(
        "broker create-webhook",
        ("http://127.0.0.1:1/x", "-X", "POST", "-d", "{{}}", "--contract-published", "--description", "created"),
        leaves=lambda world: "created" in json.dumps(world.served.ok("GET", "/webhooks")),
    ),
    Use(
        "broker create-or-update-webhook",
        ("http://127.0.0.1:1/new", "--uuid", HOOK, "-X", "POST", "--contract-content-changed", "--consumer", "C x"),
        leaves=lambda world: world.served.ok("GET", f"/webhooks/{HOOK}")["request"]["url"].endswith("/new"),
    ),
    Use("broker test-webhook", ("--uuid", HOOK), "Connection refused"),
    Use("broker delete-webhook", ("--uuid", DOOMED_HOOK), leaves=_gone(f"/webhooks/{DOOMED_HOOK}")),
    Use("broker generate-uuid"),
    Use(
        "pactflow publish-provider-contract",
        ("pact.json", "--provider", "P/y", "--provider-app-version", "1", "--verification-results", "pact.json"),
        "pf:publish-provider-contract",
        code=1,
        leaves=_gone("/contracts/provider/P%2Fy/version/1"),
    ),
]


@pytest.mark.parametrize("use", USES, ids=lambda use: use.command.removeprefix("broker "))
def test_sub_command(world: World, use: Use) -> None:
    done = world.run(*use.command.split(), *use.arguments)
    assert done.code == use.code, done.text
    assert use.says.format_map(world.names) in done.text
    assert use.leaves(world)


@pytest.fixture(scope="module")
def listed() -> set[str]:
    """What the installed program has; of the groups that are not about this broker, the name of the group."""
    every = [*commands.sub_commands("broker"), *commands.sub_commands("pactflow")]
    return {next((group for group in ELSEWHERE if one.startswith(f"{group} ")), one) for one in every}


def test_every_sub_command_is_used_here(listed: set[str]) -> None:
    assert listed - {use.command for use in USES} == ELSEWHERE
    assert {use.command for use in USES} <= listed


def test_every_sub_command_is_in_the_readme(listed: set[str]) -> None:
    rows = dict(re.findall(r"^\| `pact ([a-z -]+)` \| (.+) \|$", README, re.MULTILINE))
    assert rows.keys() == listed
    assert {name for name, what in rows.items() if what.startswith("speaks to no broker")} == ELSEWHERE
    assert {name for name, what in rows.items() if what.startswith("refused")} == REFUSED
