import json

import pytest

from brokerclient import BasicAuth
from verifier.settings import OwedPact, SettingsError, parse_settings

PACT = {"consumer": "c", "contentSha": "4f2a", "url": "http://b/pacts/x", "pending": True}
GOOD = {
    "PACT_BROKER_BASE_URL": "http://broker:9292/prefix/",
    "PV_PROVIDER": "users",
    "PV_PROVIDER_VERSION": "1.0+x/y",
    "PV_PROVIDER_URL": "http://localhost:8080/api/",
    "PV_PACTS": json.dumps([PACT, PACT]),
}


def test_defaults() -> None:
    settings = parse_settings(GOOD)
    assert settings.pacts == (OwedPact("c", "4f2a", "http://b/pacts/x", pending=True),)
    assert (settings.provider_url.origin, settings.provider_url.path) == ("http://localhost:8080", "/api")
    assert (settings.ready_timeout, settings.request_timeout, settings.publish) == (60.0, 5.0, False)
    assert (settings.readiness_path, settings.states_path, settings.message_path) == ("", None, None)
    assert settings.broker.base_url == "http://broker:9292/prefix"


def test_everything_set() -> None:
    settings = parse_settings(
        GOOD
        | {
            "PV_PACTS": "",
            "PV_SELECTORS": '[{"mainBranch": true}]',
            "PV_INCLUDE_PENDING": "true",
            "PV_INCLUDE_WIP_SINCE": "2026-01-31",
            "PV_PUBLISH": "TRUE",
            "PV_STATES_PATH": "_pact/provider_states",
            "PV_READINESS_PATH": "/healthz?deep=1",
            "PV_PROVIDER_URL": "https://[::1]",
            "PACT_BROKER_USERNAME": "u",
            "PACT_BROKER_PASSWORD": "hidden-secret",
        }
    )
    assert settings.pacts is None
    assert settings.selectors == ({"mainBranch": True},)
    assert settings.provider_url.origin == "https://[::1]:443"
    assert settings.states_path == "/_pact/provider_states"
    assert settings.broker.auth == BasicAuth("u", "hidden-secret")
    assert "hidden-secret" not in repr(settings)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"PACT_BROKER_BASE_URL": ""}, "PACT_BROKER_BASE_URL is not set"),
        ({"PACT_BROKER_BASE_URL": "http://u:hidden-secret@b"}, "holds credentials"),
        ({"PACT_BROKER_TOKEN": "hidden-secret", "PACT_BROKER_USERNAME": "u"}, "not both"),
        ({"PACT_BROKER_PASSWORD": "hidden-secret"}, "without PACT_BROKER_USERNAME"),
        ({"PV_PROVIDER": " "}, "PV_PROVIDER is not set"),
        ({"PV_PROVIDER_VERSION": ""}, "PV_PROVIDER_VERSION is not set"),
        ({"PV_PROVIDER_URL": "localhost:8080"}, "PV_PROVIDER_URL must be an http"),
        ({"PV_PROVIDER_URL": "http://u:hidden-secret@h"}, "without credentials"),
        ({"PV_PROVIDER_URL": "http://h:0"}, "PV_PROVIDER_URL"),
        ({"PV_READY_TIMEOUT_SECONDS": "soon"}, "PV_READY_TIMEOUT_SECONDS must be a number"),
        ({"PV_READY_TIMEOUT_SECONDS": "nan"}, "PV_READY_TIMEOUT_SECONDS must be a number"),
        ({"PV_REQUEST_TIMEOUT_SECONDS": "-1"}, "PV_REQUEST_TIMEOUT_SECONDS must be a number"),
        ({"PV_PUBLISH": "perhaps"}, "PV_PUBLISH must be true or false"),
        ({"PV_STATES_PATH": "http://elsewhere/x"}, "PV_STATES_PATH must be a path"),
        ({"PV_INCLUDE_WIP_SINCE": "yesterday"}, "PV_INCLUDE_WIP_SINCE must be a date"),
        ({"PV_PACTS": ""}, "Set PV_PACTS"),
        ({"PV_SELECTORS": "[]"}, "not both"),
        ({"PV_PACTS": "["}, "PV_PACTS is not JSON"),
        ({"PV_PACTS": "[" * 100_000}, "PV_PACTS is not JSON"),
        ({"PV_PACTS": "{}"}, "PV_PACTS must be a JSON array of objects"),
        ({"PV_PACTS": '[{"consumer": "c"}]'}, r"PV_PACTS\[0\] must be like"),
        ({"PV_PACTS": json.dumps([PACT | {"pending": "yes"}])}, r"PV_PACTS\[0\] must be like"),
    ],
)
def test_unusable_settings_are_one_sentence_without_secrets(change: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        parse_settings(GOOD | change)
    assert "hidden-secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
