"""Filled brokers, as people see them: by the routes, with the shapes that clients send."""

import base64
import json
from collections.abc import Sequence
from typing import Any

from broker_lite.urls import encode
from services.broker_lite.tests.support.server import Served

USER: dict[str, Any] = {
    "type": "Synchronous/HTTP",
    "description": "a request for user 123",
    "providerStates": [{"name": "user 123 exists", "params": {"id": 123}}],
    "request": {
        "method": "GET",
        "path": "/users/123",
        "query": {"expand": ["roles"]},
        "headers": {"Accept": ["application/json"]},
    },
    "response": {
        "status": 200,
        "headers": {"Content-Type": ["application/json"]},
        "body": {
            "contentType": "application/json",
            "encoded": False,
            "content": {"id": 123, "name": "Alice", "email": "alice@example.com"},
        },
        "matchingRules": {"body": {"$.email": {"combine": "AND", "matchers": [{"match": "regex", "regex": ".+@.+"}]}}},
    },
}
MISSING: dict[str, Any] = {
    "type": "Synchronous/HTTP",
    "description": "a request for a user that does not exist",
    "providerStates": [{"name": "user 404 does not exist"}],
    "request": {"method": "GET", "path": "/users/404"},
    "response": {"status": 404},
}
CREATED: dict[str, Any] = {
    "type": "Asynchronous/Messages",
    "description": "a user was created",
    "contents": {"contentType": "application/json", "content": {"event": "UserCreated", "id": 124}},
    "metadata": {"topic": "users"},
}
MISMATCH = "Actual map is missing the following keys: email"


def pact(consumer: str, provider: str, interactions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A pact of specification 4."""
    return {
        "consumer": {"name": consumer},
        "provider": {"name": provider},
        "interactions": list(interactions),
        "metadata": {"pactSpecification": {"version": "4.0"}, "pactRust": {"ffi": "0.5.3"}},
    }


def publish(served: Served, version: str, document: dict[str, Any], **extra: Any) -> None:
    """Publish any pact."""
    consumer = document["consumer"]["name"]
    contract = {
        "consumerName": consumer,
        "providerName": document["provider"]["name"],
        "specification": "pact",
        "contentType": "application/json",
        "content": base64.b64encode(json.dumps(document).encode()).decode(),
    }
    body = {"pacticipantName": consumer, "pacticipantVersionNumber": version, "contracts": [contract], **extra}
    served.ok("POST", "/contracts/publish", body)


def verify(served: Served, pair: tuple[str, str], versions: tuple[str, str], tests: Sequence[Any]) -> None:
    """Publish the results of interactions; the verification succeeded if all of them did."""
    (consumer, provider), (consumer_version, provider_version) = pair, versions
    served.ok("PUT", f"/pacticipants/{provider}/branches/main/versions/{provider_version}", {})
    sha = served.sha(consumer, consumer_version, provider)
    body = {
        "success": all(one["success"] for one in tests),
        "providerApplicationVersion": provider_version,
        "testResults": list(tests),
        "buildUrl": "https://ci.example.com/builds/1",
        "verifiedBy": {"implementation": "Pact-Rust", "version": "1.4.7", "clientLanguage": {"name": "pact-python"}},
    }
    served.ok("POST", f"/pacts/provider/{provider}/consumer/{consumer}/pact-version/{sha}/verification-results", body)


def identifiers(served: Served, consumer: str, provider: str) -> list[str]:
    """Ids of the interactions of the latest pact."""
    body = served.ok("GET", f"/pacts/provider/{encode(provider)}/consumer/{encode(consumer)}/latest")
    return [one["_id"] for one in body["interactions"]]


def demo(served: Served) -> None:
    """A consumer of two providers; one has learnt what its new version expects, the other has not."""
    environment = served.ok("POST", "/environments", {"name": "demo", "production": False})["uuid"]
    served.ok("POST", "/environments", {"name": "production", "displayName": "Live", "production": True})
    before = json.loads(json.dumps(USER))
    del before["response"]["body"]["content"]["email"]
    for provider, version in (("flask-provider", "1.0.0-78435a19"), ("fastapi-provider", "1.0.0-0883957c")):
        pair = ("users-consumer", provider)
        publish(served, "1.0.0-231b3fd8", pact(*pair, [before, MISSING, CREATED]), branch="main", tags=["v1"])
        verify(served, pair, ("1.0.0-231b3fd8", version), [{"interactionId": "x", "success": True}])
        path = f"/pacticipants/{provider}/versions/{version}/deployed-versions/environment/{environment}"
        served.ok("POST", path, {"applicationInstance": "blue"} if provider == "flask-provider" else {})
        publish(served, "1.1.0-9f1c22aa", pact(*pair, [USER, MISSING, CREATED]), branch="main")
    path = f"/pacticipants/users-consumer/versions/1.0.0-231b3fd8/deployed-versions/environment/{environment}"
    served.ok("POST", path, {})
    good = [{"interactionId": one, "success": True} for one in identifiers(served, "users-consumer", "flask-provider")]
    verify(served, ("users-consumer", "fastapi-provider"), ("1.1.0-9f1c22aa", "1.1.0-036ae0f9"), good)
    broken = [
        {
            **good[0],
            "success": False,
            "mismatches": [{"attribute": "body", "identifier": "$", "description": MISMATCH}],
        },
        good[1],
        {**good[2], "success": False, "exceptions": [{"message": "connection refused"}]},
    ]
    verify(served, ("users-consumer", "flask-provider"), ("1.1.0-9f1c22aa", "1.0.0-78435a19"), broken)
    publish(served, "2026.11.25", pact("reports", "archive", [MISSING]), branch="feature/long-reports")
    served.ok("PUT", "/pacticipants/reports/labels/team-a", {})


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;"


def hostile(served: Served) -> None:
    """Names as long as they may be, and markup, control characters and reversed text wherever a client may put it."""
    reversed_text = "\u202egnorw\u202c \x1b[31m \x07"
    interaction = {
        "description": HOSTILE + reversed_text,
        "providerState": HOSTILE,
        "request": {"method": HOSTILE, "path": HOSTILE, "headers": {HOSTILE: HOSTILE}, "body": HOSTILE + reversed_text},
        "response": {"status": HOSTILE, "body": {HOSTILE: [HOSTILE]}, "matchingRules": {"$.x": {"match": HOSTILE}}},
    }
    name, other = "<b>Kunde</b>&amp;", "x" * 250
    document = pact(name, other, [interaction])
    publish(served, "1<i>", document, branch="b" * 200, tags=["t" * 200, "<u>"], buildUrl="javascript:alert(3)")
    tests = [
        {
            "interactionId": identifiers(served, name, other)[0],
            "success": False,
            "mismatches": [{"attribute": HOSTILE, "identifier": HOSTILE, "description": HOSTILE + reversed_text}],
            "exceptions": [{"message": HOSTILE}, "text"],
        },
        {"interactionId": {"no": "text"}, "success": "maybe"},
    ]
    sha = served.sha(encode(name), encode("1<i>"), other)
    path = f"/pacts/provider/{other}/consumer/{encode(name)}/pact-version/{sha}/verification-results"
    body = {"success": False, "providerApplicationVersion": "9" * 250, "testResults": tests}
    served.ok("POST", path, body | {"buildUrl": "data:text/html,<script>alert(4)</script>"})
    served.ok("PUT", f"/pacticipants/{encode(name)}", {"repositoryUrl": " javascript:alert(5)"})
