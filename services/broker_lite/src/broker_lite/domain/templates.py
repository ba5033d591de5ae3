"""Template parameters of webhooks: ``${pactbroker.consumerName}`` in the URL, headers, credentials and body."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

_PARAMETER = re.compile(r"\$\{pactbroker\.([^}]+)\}")


@dataclass(frozen=True)
class Facts:
    """What the templates of one webhook run may show. Missing texts are empty."""

    event_name: str
    consumer_name: str = ""
    provider_name: str = ""
    consumer_version_number: str = ""
    consumer_version_tags: Sequence[str] = field(default=())
    consumer_version_branch: str = ""
    provider_version_number: str = ""
    provider_version_tags: Sequence[str] = field(default=())
    provider_version_branch: str = ""
    provider_version_descriptions: Sequence[str] = field(default=())
    pact_url: str = ""
    verification_result_url: str = ""
    success: bool | None = None
    consumer_labels: Sequence[str] = field(default=())
    provider_labels: Sequence[str] = field(default=())
    build_url: str = ""


_STATUSES: Mapping[str, tuple[str, str, str]] = {
    "githubVerificationStatus": ("pending", "success", "failure"),
    "bitbucketVerificationStatus": ("INPROGRESS", "SUCCESSFUL", "FAILED"),
    "azureDevOpsVerificationStatus": ("pending", "succeeded", "failed"),
    "gitlabVerificationStatus": ("pending", "success", "failed"),
}


def parameters(facts: Facts) -> dict[str, str]:
    """Values by parameter name (without the ``pactbroker.`` prefix)."""
    values = {
        "consumerName": facts.consumer_name,
        "providerName": facts.provider_name,
        "consumerVersionNumber": facts.consumer_version_number,
        "consumerVersionTags": ", ".join(facts.consumer_version_tags),
        "consumerVersionBranch": facts.consumer_version_branch,
        "providerVersionNumber": facts.provider_version_number,
        "providerVersionTags": ", ".join(facts.provider_version_tags),
        "providerVersionBranch": facts.provider_version_branch,
        "providerVersionDescriptions": ", ".join(facts.provider_version_descriptions),
        "pactUrl": facts.pact_url,
        "verificationResultUrl": facts.verification_result_url,
        "consumerLabels": ", ".join(facts.consumer_labels),
        "providerLabels": ", ".join(facts.provider_labels),
        "eventName": facts.event_name,
        "buildUrl": facts.build_url,
        "currentlyDeployedProviderVersionNumber": "",
    }
    index = 0 if facts.success is None else (1 if facts.success else 2)
    values.update({name: words[index] for name, words in _STATUSES.items()})
    return values


def has_parameter(text: str) -> bool:
    """Whether a text holds a template parameter."""
    return _PARAMETER.search(text) is not None


def render(text: str, values: Mapping[str, str]) -> str:
    """Replace known parameters; unknown ones stay as written, and inserted values are not rendered again."""
    return _PARAMETER.sub(lambda match: values.get(match[1], match[0]), text)


def render_url(url: str, values: Mapping[str, str]) -> str:
    """Like `render`, with values escaped for a URL (a space becomes ``+``)."""
    return render(url, {name: quote_plus(value) for name, value in values.items()})


def placeholder_url(url: str) -> str:
    """The URL with a plain word in place of every parameter, to check its form."""
    return _PARAMETER.sub("placeholder", url)


def render_body(body: Any, values: Mapping[str, str]) -> Any:
    """Render every text within a body (object, list or text); keys stay as they are."""
    if isinstance(body, str):
        return render(body, values)
    if isinstance(body, dict):
        return {key: render_body(value, values) for key, value in body.items()}
    if isinstance(body, list):
        return [render_body(value, values) for value in body]
    return body
