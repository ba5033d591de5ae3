"""The CustomResourceDefinitions, generated from the models: `python -m pact_operator.api.crds DIRECTORY`.

The chart carries the generated files; a test holds that they are what this module makes.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from pact_operator.api import names
from pact_operator.api.v1alpha1 import Object, PactBroker, PactConsumer, PactProvider, PactVerification

Column = tuple[str, str, str, int]
"""Name, type, JSON path, priority."""


def _condition(kind: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


_AGE: Column = ("Age", "date", ".metadata.creationTimestamp", 0)

KINDS: dict[str, tuple[type[Object], str, list[str], list[Column]]] = {
    names.BROKER: (
        PactBroker,
        "pactbroker",
        ["pbk"],
        [
            ("Ready", "string", _condition("Ready", "status"), 0),
            ("Reason", "string", _condition("Ready", "reason"), 0),
            ("Webhook", "string", _condition("WebhookRegistered", "status"), 0),
            ("URL", "string", ".spec.url", 0),
            _AGE,
            ("Actor", "string", ".status.actor", 1),
            ("Message", "string", _condition("Ready", "message"), 1),
        ],
    ),
    names.CONSUMER: (
        PactConsumer,
        "pactconsumer",
        ["pcon"],
        [
            ("Pacticipant", "string", ".spec.pacticipant", 0),
            ("Version", "string", ".status.version", 0),
            ("Ready", "string", _condition("Ready", "status"), 0),
            ("Reason", "string", _condition("Ready", "reason"), 0),
            ("Deployable", "string", _condition("Deployable", "status"), 0),
            ("Recorded", "string", _condition("Recorded", "status"), 0),
            _AGE,
            ("Actor", "string", ".status.actor", 1),
            ("Message", "string", _condition("Ready", "message"), 1),
        ],
    ),
    names.PROVIDER: (
        PactProvider,
        "pactprovider",
        ["pprov"],
        [
            ("Pacticipant", "string", ".spec.pacticipant", 0),
            ("Version", "string", ".status.version", 0),
            ("Verified", "integer", ".status.verified", 0),
            ("Owed", "integer", ".status.owed", 0),
            ("Failed", "integer", ".status.failed", 0),
            ("Ready", "string", _condition("Ready", "status"), 0),
            ("Reason", "string", _condition("Ready", "reason"), 0),
            ("Deployable", "string", _condition("Deployable", "status"), 0),
            ("Recorded", "string", _condition("Recorded", "status"), 0),
            _AGE,
            ("Actor", "string", ".status.actor", 1),
            ("Message", "string", _condition("Ready", "message"), 1),
        ],
    ),
    names.VERIFICATION: (
        PactVerification,
        "pactverification",
        ["pver"],
        [
            ("Provider", "string", ".spec.pacticipant", 0),
            ("Version", "string", ".spec.providerVersion", 0),
            ("Succeeded", "string", _condition("Succeeded", "status"), 0),
            ("Reason", "string", _condition("Succeeded", "reason"), 0),
            ("Published", "string", _condition("ResultPublished", "status"), 1),
            ("Started", "date", ".status.startTime", 0),
            ("Completed", "date", ".status.completionTime", 0),
            ("Actor", "string", ".status.actor", 1),
            ("Message", "string", _condition("Succeeded", "message"), 1),
        ],
    ),
}


def _structural(schema: Any, definitions: dict[str, Any]) -> Any:
    """Turns pydantic's JSON Schema into a Kubernetes structural schema: no references, no titles, no null."""
    if isinstance(schema, list):
        return [_structural(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        return _structural({**target, **{k: v for k, v in schema.items() if k != "$ref"}}, definitions)
    if "anyOf" in schema:
        [kept] = [option for option in schema["anyOf"] if option.get("type") != "null"]
        return _structural({**kept, **{k: v for k, v in schema.items() if k != "anyOf"}}, definitions)
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            result[key] = {name: _structural(part, definitions) for name, part in value.items()}
        elif key == "const":
            result["enum"] = [value]
        elif not _left_out(key, value):
            result[key] = value if key == "default" else _structural(value, definitions)
    return result


def _left_out(key: str, value: Any) -> bool:
    # A structural schema prunes what it does not name, and for an empty default absence says the same.
    empty_default = key == "default" and value in (None, {}, [])
    # `additionalProperties: true` would keep the first level alone and prune what is below it.
    any_or_none = key == "additionalProperties" and isinstance(value, bool)
    return key == "title" or empty_default or any_or_none


def _without_defaults(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_defaults(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _without_defaults(value) for key, value in schema.items() if key != "default"}


def _schema_of(model: type[Object]) -> dict[str, Any]:
    raw = model.model_json_schema(by_alias=True)
    definitions = raw.get("$defs", {})
    properties = {
        "apiVersion": {"type": "string", "description": "Version of the schema of this object."},
        "kind": {"type": "string", "description": "Kind of this object."},
        "metadata": {"type": "object"},
    }
    for part in ("spec", "status"):
        properties[part] = _structural(raw["properties"][part], definitions)
    # What is absent from a status was not observed: the API server must not fill it in.
    properties["status"] = _without_defaults(properties["status"])
    return {
        "type": "object",
        "description": (model.__doc__ or "").strip(),
        "required": ["spec"],
        "properties": properties,
    }


def definition(kind: str) -> dict[str, Any]:
    """Makes the CustomResourceDefinition of one kind.

    Args:
        kind: one of `KINDS`.

    Returns:
        The manifest, apiVersion `apiextensions.k8s.io/v1`.
    """
    model, singular, short, columns = KINDS[kind]
    plural = names.PLURALS[kind]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": singular,
                "shortNames": short,
                "categories": [names.CATEGORY],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": type_, "jsonPath": path, **({"priority": priority} if priority else {})}
                        for name, type_, path, priority in columns
                    ],
                    "schema": {"openAPIV3Schema": _schema_of(model)},
                }
            ],
        },
    }


def render(kind: str) -> str:
    """Renders a definition as YAML text.

    Args:
        kind: one of `KINDS`.

    Returns:
        YAML, keys in the order of the definition.
    """
    head = "# Generated from pact_operator.api.v1alpha1 by `make crds`; do not edit.\n"
    return head + yaml.safe_dump(definition(kind), sort_keys=False, allow_unicode=True, width=1000)


def main() -> None:
    """Writes all definitions into the directory given as the only argument."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for kind, plural in names.PLURALS.items():
        (directory / f"{plural}.yaml").write_text(render(kind), encoding="utf-8")


if __name__ == "__main__":
    main()
