"""Things that many routes look up or check in the same way."""

from collections.abc import Sequence

from broker_lite.domain.webhook_rules import Errors
from broker_lite.http import views
from broker_lite.http.call import Call
from broker_lite.http.errors import invalid, missing, not_found
from broker_lite.store import deployments, pacticipants, pacts, versions
from broker_lite.store.models import Environment, Pacticipant, Version

MAX_NAME = 255
"""Longest name, version number, branch or tag."""


def pacticipant(call: Call, key: str = "pacticipant", word: str = "pacticipant") -> Pacticipant:
    """The pacticipant in the path; 404 with its name if there is none."""
    name = call.path[key]
    found = pacticipants.find(call.session, name)
    if found is None:
        raise missing(f"No {word} with name '{name}' found")
    return found


def provider(call: Call) -> Pacticipant:
    """The provider in the path."""
    return pacticipant(call, "provider", "provider")


def consumer(call: Call) -> Pacticipant:
    """The consumer in the path."""
    return pacticipant(call, "consumer", "consumer")


def version(call: Call) -> Version:
    """The version in the path; 404 if there is none."""
    found = versions.find(call.session, call.path["pacticipant"], call.path["version"])
    if found is None:
        raise not_found()
    return found


def environment(call: Call) -> Environment:
    """The environment in the path; 404 if there is none."""
    found = deployments.find_environment(call.session, call.path["environment"])
    if found is None:
        raise not_found()
    return found


def name_problem(name: str) -> str | None:
    """What is wrong with a name that is about to be stored; None if nothing is."""
    if not name.strip():
        return "cannot be blank"
    if len(name) > MAX_NAME:
        return f"cannot be longer than {MAX_NAME} characters"
    if any(character < " " or character == "\x7f" for character in name):
        return "cannot contain control characters"
    return None


def check_path_names(call: Call, *keys: str) -> None:
    """400 if a name in the path, about to be stored, is blank, too long or holds a control character."""
    errors: Errors = {}
    for key in keys:
        problem = name_problem(call.path[key])
        if problem is not None:
            errors[key] = [problem]
    if errors:
        raise invalid(errors)


def version_body(call: Call, row: Version, *, self_url: str | None = None) -> views.Json:
    """A version with everything that is shown with a single one."""
    session = call.session
    facets = versions.facets(session, [row.id])[row.id]
    return views.version(
        call.urls,
        row,
        facets,
        pacts.of_versions(session, [row.id])[row.id],
        self_url=self_url,
        deployed=deployments.deployments_of(session, row),
        released=deployments.releases_of(session, row),
        environments=deployments.environments(session),
    )


def version_bodies(call: Call, rows: Sequence[Version]) -> list[views.Json]:
    """Versions in a list."""
    ids = [row.id for row in rows]
    facets = versions.facets(call.session, ids)
    published = pacts.of_versions(call.session, ids)
    return [views.version(call.urls, row, facets[row.id], published[row.id]) for row in rows]
