"""Pure functions from the broker's JSON to the models.

Each raises `ProtocolError` when a part that we rely on is missing or of another type: a broker that says
something else must be noticed, not guessed at.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from brokerclient.errors import ProtocolError
from brokerclient.links import parse_pact_link, provider_of
from brokerclient.models import (
    BranchVersion,
    DeployedVersion,
    Environment,
    LatestPact,
    Matrix,
    MatrixRow,
    Notice,
    PactForVerification,
    Pacticipant,
    Published,
    PublishedPact,
    ReleasedVersion,
    VerificationDetail,
    Version,
    Webhook,
)

T = TypeVar("T")
_TYPE_NAMES: dict[type, str] = {
    str: "text",
    bool: "true or false",
    dict: "an object",
    list: "an array",
    int: "a number",
}
Json = Mapping[str, Any]
Absolute = Callable[[str], str]


def _at(body: Any, kind: type[T], *keys: str) -> T:
    value = body
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, kind):
        raise ProtocolError(f"The broker's answer lacks {'.'.join(keys)} ({_TYPE_NAMES[kind]}).")
    return value


def _maybe(body: Any, kind: type[T], *keys: str) -> T | None:
    value = body
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, kind) else None


def _objects(body: Any, *keys: str) -> list[Json]:
    return [item for item in _at(body, list, *keys) if isinstance(item, Mapping)]


def notices(body: Json) -> tuple[Notice, ...]:
    """Read the `notices` array, empty if there is none."""
    return tuple(
        Notice(str(item.get("type", "info")), str(item.get("text", "")))
        for item in _maybe(body, list, "notices") or []
        if isinstance(item, Mapping)
    )


def published(body: Json, absolute: Absolute) -> Published:
    """Read the answer to `POST /contracts/publish`."""
    links = [
        href
        for item in _maybe(body, list, "_links", "pb:contracts") or []
        if (href := _maybe(item, str, "href")) is not None
    ]
    return Published(
        consumer=_at(body, str, "_embedded", "pacticipant", "name"),
        consumer_version=_at(body, str, "_embedded", "version", "number"),
        pacts=tuple(
            PublishedPact(provider, absolute(href)) for href in links if (provider := provider_of(href)) is not None
        ),
        notices=notices(body),
    )


def pacts_for_verification(body: Json, absolute: Absolute) -> list[PactForVerification]:
    """Read the answer to `POST /pacts/provider/{p}/for-verification`, order kept."""
    found = []
    for item in _objects(body, "_embedded", "pacts"):
        href = _at(item, str, "_links", "self", "href")
        link = parse_pact_link(href)
        found.append(
            PactForVerification(
                consumer=link.consumer,
                content_sha=link.content_sha,
                url=absolute(href),
                pending=_maybe(item, bool, "verificationProperties", "pending") or False,
                wip=_maybe(item, bool, "verificationProperties", "wip") or False,
                short_description=_maybe(item, str, "shortDescription") or "",
            )
        )
    return found


def verification_detail(body: Json, absolute: Absolute) -> VerificationDetail:
    """Read one verification result resource."""
    href = _maybe(body, str, "_links", "self", "href")
    return VerificationDetail(
        success=_at(body, bool, "success"),
        provider_version=_at(body, str, "providerApplicationVersion"),
        verified_at=_maybe(body, str, "verificationDate"),
        url=None if href is None else absolute(href),
        test_results=tuple(item for item in _maybe(body, list, "testResults") or [] if isinstance(item, Mapping)),
    )


def pacticipant(body: Json) -> Pacticipant:
    """Read a pacticipant resource."""
    return Pacticipant(_at(body, str, "name"), _maybe(body, str, "mainBranch"))


def version(body: Json) -> Version:
    """Read a pacticipant version resource."""
    return Version(
        number=_at(body, str, "number"),
        created_at=_maybe(body, str, "createdAt"),
        build_url=_maybe(body, str, "buildUrl"),
        branches=tuple(
            BranchVersion(_at(item, str, "name"), _maybe(item, bool, "latest") or False)
            for item in _maybe(body, list, "_embedded", "branchVersions") or []
        ),
        tags=tuple(_at(item, str, "name") for item in _maybe(body, list, "_embedded", "tags") or []),
    )


def environment(body: Json) -> Environment:
    """Read an environment resource."""
    name = _at(body, str, "name")
    return Environment(
        uuid=_at(body, str, "uuid"),
        name=name,
        display_name=_maybe(body, str, "displayName") or name,
        production=_maybe(body, bool, "production") or False,
    )


def environments(body: Json) -> list[Environment]:
    """Read the list of environments."""
    return [environment(item) for item in _objects(body, "_embedded", "environments")]


def deployed_version(body: Json) -> DeployedVersion:
    """Read a deployed version, alone or out of a list."""
    return DeployedVersion(
        uuid=_at(body, str, "uuid"),
        pacticipant=_at(body, str, "_embedded", "pacticipant", "name"),
        version=_at(body, str, "_embedded", "version", "number"),
        application_instance=_maybe(body, str, "applicationInstance") or _maybe(body, str, "target"),
        currently_deployed=_maybe(body, bool, "currentlyDeployed") is not False,
        created_at=_maybe(body, str, "createdAt"),
    )


def deployed_versions(body: Json) -> list[DeployedVersion]:
    """Read a list of deployed versions, newest first as the broker sends them."""
    return [deployed_version(item) for item in _objects(body, "_embedded", "deployedVersions")]


def released_version(body: Json) -> ReleasedVersion:
    """Read a released version, alone or out of a list."""
    return ReleasedVersion(
        uuid=_at(body, str, "uuid"),
        pacticipant=_at(body, str, "_embedded", "pacticipant", "name"),
        version=_at(body, str, "_embedded", "version", "number"),
        currently_supported=_maybe(body, bool, "currentlySupported") is not False,
        created_at=_maybe(body, str, "createdAt"),
    )


def released_versions(body: Json) -> list[ReleasedVersion]:
    """Read a list of released versions."""
    return [released_version(item) for item in _objects(body, "_embedded", "releasedVersions")]


def matrix_row(body: Json, absolute: Absolute) -> MatrixRow:
    """Read one row of the matrix; the content SHA comes from the result's own link."""
    pact_href = _maybe(body, str, "pact", "_links", "self", "href")
    result_href = _maybe(body, str, "verificationResult", "_links", "self", "href")
    return MatrixRow(
        consumer=_at(body, str, "consumer", "name"),
        consumer_version=_at(body, str, "consumer", "version", "number"),
        provider=_at(body, str, "provider", "name"),
        provider_version=_maybe(body, str, "provider", "version", "number"),
        pact_url=None if pact_href is None else absolute(pact_href),
        success=_maybe(body, bool, "verificationResult", "success"),
        verified_at=_maybe(body, str, "verificationResult", "verifiedAt"),
        result_url=None if result_href is None else absolute(result_href),
        content_sha=None if result_href is None else parse_pact_link(result_href).content_sha,
        ignored=_maybe(body, bool, "ignored") or False,
        consumer_branch=_maybe(body, str, "consumer", "version", "branch"),
        provider_branch=_maybe(body, str, "provider", "version", "branch"),
        published_at=_maybe(body, str, "pact", "createdAt"),
    )


def matrix(body: Json, absolute: Absolute) -> Matrix:
    """Read the answer to `GET /matrix` or `GET /can-i-deploy`."""
    summary = _at(body, dict, "summary")
    return Matrix(
        deployable=_maybe(summary, bool, "deployable"),
        reason=_maybe(summary, str, "reason") or "",
        success=_maybe(summary, int, "success") or 0,
        failed=_maybe(summary, int, "failed") or 0,
        unknown=_maybe(summary, int, "unknown") or 0,
        rows=tuple(matrix_row(item, absolute) for item in _objects(body, "matrix")),
        notices=notices(body),
    )


def latest_pacts(body: Json, absolute: Absolute) -> list[LatestPact]:
    """Read `GET /pacts/latest`; of the two self links the one that names the consumer version is kept."""
    found = []
    for item in _objects(body, "pacts"):
        links = item.get("_links", {}).get("self") if isinstance(item.get("_links"), Mapping) else None
        hrefs = [
            href
            for link in (links if isinstance(links, list) else [links])
            if (href := _maybe(link, str, "href")) is not None
        ]
        found.append(
            LatestPact(
                consumer=_at(item, str, "_embedded", "consumer", "name"),
                consumer_version=_at(item, str, "_embedded", "consumer", "_embedded", "version", "number"),
                provider=_at(item, str, "_embedded", "provider", "name"),
                created_at=_maybe(item, str, "createdAt"),
                url=absolute(hrefs[-1]) if hrefs else None,
            )
        )
    return found


def webhook(body: Json, uuid: str | None = None) -> Webhook:
    """Read a webhook resource; `uuid` is used where the answer does not repeat it."""
    return Webhook(
        uuid=_maybe(body, str, "uuid") or uuid or _at(body, str, "uuid"),
        description=_maybe(body, str, "description") or "",
        enabled=_maybe(body, bool, "enabled") is not False,
        definition={key: value for key, value in body.items() if key != "_links"},
    )


def complaints(body: Any) -> tuple[str, ...]:
    """Flatten every error shape of the broker into readable sentences.

    `{"errors": {"field": ["msg"]}}`, `{"errors": ["msg"]}`, `{"error": "msg"}`,
    `{"error": {"message": "msg"}}` and problem+json (`title`, `detail`).
    """
    if not isinstance(body, Mapping):
        return ()
    found: list[str] = []
    errors = body.get("errors")
    if isinstance(errors, Mapping):
        for key, texts in errors.items():
            items = texts if isinstance(texts, list) else [texts]
            found += [f"{key}: {_text(text)}" if key else _text(text) for text in items]
    elif isinstance(errors, list):
        found += [_text(item) for item in errors]
    error = body.get("error")
    if error is not None:
        found.append(_text(error))
    if not found:
        found += [str(body[key]) for key in ("detail", "title") if body.get(key)][:1]
    return tuple(found)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        for key in ("message", "detail", "title"):
            if value.get(key):
                return str(value[key])
    return str(value)
