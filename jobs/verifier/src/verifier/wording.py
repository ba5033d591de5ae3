"""From the verifier core's results to failures in words that a person understands. Pure.

The core's JSON: `interactionResults[]` with `description`, `interactionId`, `providerStates`, `pending`,
`result` (`OK` or `Error`) and `mismatch`, which is either `{"type": "mismatches", "mismatches": [...]}` or
`{"type": "error", "message": ...}`; and `errors[]`, which also has what is not about one interaction.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from brokerclient.text import clean
from verifier.outcome import FieldMismatch, InteractionFailure
from verifier.pact import Interaction, Pact, child, expectation, short_json

_MISSING_KEYS = re.compile(r"Actual map is missing the following keys: (?P<keys>.+)\Z", re.DOTALL)
_STATE_FAILED = "state change handlers"
_ATTRIBUTES = {
    "StatusMismatch": "status",
    "HeaderMismatch": "header",
    "BodyMismatch": "body",
    "BodyTypeMismatch": "body",
    "MetadataMismatch": "metadata",
}
_ORDER = ("error", "status", "header", "metadata", "body")
_MAX_MISMATCHES = 100


@dataclass(frozen=True, slots=True)
class Heard:
    """What the provider said at its own endpoints, which the core does not pass on.

    Attributes:
        states: Name of a provider state that could not be set up -> why.
        messages: Description of a message that the provider could not make -> why.
    """

    states: Mapping[str, str] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CoreResult:
    """The core's results of one pact, read.

    Attributes:
        failures: Interactions that failed.
        broken_off: At least one interaction got no answer to compare (not counting refused provider states).
        load_error: The core could not read the pact; nothing was verified.
        test_results: Per interaction, in the shape the broker stores.
    """

    failures: tuple[InteractionFailure, ...]
    broken_off: bool
    load_error: str | None
    test_results: tuple[Mapping[str, Any], ...]


def read_results(results: Mapping[str, Any], pact: Pact, heard: Heard) -> CoreResult:
    """Read the core's results of one pact."""
    items = [item for item in results.get("interactionResults") or [] if isinstance(item, Mapping)]
    failures: list[InteractionFailure] = []
    test_results: list[Mapping[str, Any]] = []
    broken_off = False
    for item in items:
        failure = None
        if item.get("result") != "OK":
            failure, no_answer = _failure(item, pact, heard)
            failures.append(failure)
            broken_off = broken_off or no_answer
        test_results.append(_test_result(item, failure))
    load_error = None
    if not items and results.get("result") is not True:
        load_error = _load_error(results)
    return CoreResult(tuple(failures), broken_off, load_error, tuple(test_results))


def _load_error(results: Mapping[str, Any]) -> str:
    for error in results.get("errors") or []:
        message = error.get("mismatch", {}).get("message") if isinstance(error, Mapping) else None
        if message:
            # "Failed to load pact '/tmp/x.json' - Failed to parse Pact JSON": the file is ours, the reason is theirs.
            return clean(str(message).split("' - ", 1)[-1])
    return "the verifier core gave no reason"


def _failure(item: Mapping[str, Any], pact: Pact, heard: Heard) -> tuple[InteractionFailure, bool]:
    description = str(item.get("description", ""))
    interaction = pact.find(item.get("interactionId"), description)
    states = tuple(map(str, item.get("providerStates") or ()))
    mismatch = item.get("mismatch")
    mismatch = mismatch if isinstance(mismatch, Mapping) else {}
    no_answer = False
    if description in heard.messages and interaction is not None and interaction.is_message:
        found = [_error(f"the provider could not make the message: {heard.messages[description]}")]
    elif mismatch.get("type") == "mismatches":
        listed = [each for each in mismatch.get("mismatches") or [] if isinstance(each, Mapping)]
        found = [one for each in listed[:_MAX_MISMATCHES] for one in _field_mismatches(each, interaction)]
        # The core lists them in no fixed order; the first one becomes a status message, which must not flicker.
        found.sort(key=lambda one: (_ORDER.index(one.attribute), one.identifier or "", one.detail))
    else:
        message = clean(str(mismatch.get("message") or "the verifier core gave no reason"))
        refused = [(state, heard.states[state]) for state in states if state in heard.states]
        if _STATE_FAILED in message and refused:
            found = [_error(f'provider state "{state}" could not be set up: {why}') for state, why in refused]
        else:
            no_answer = True
            found = [_error(f"the provider gave no answer: {message}")]
    failure = InteractionFailure(
        description=clean(description or "an interaction without description", 200),
        states=states,
        mismatches=tuple(found),
        pending=item.get("pending") is True,
    )
    return failure, no_answer


def _error(text: str) -> FieldMismatch:
    return FieldMismatch("error", None, clean(text), None, None, clean(text, 2000))


def _field_mismatches(each: Mapping[str, Any], interaction: Interaction | None) -> Sequence[FieldMismatch]:
    kind = str(each.get("type", ""))
    attribute = _ATTRIBUTES.get(kind, "body")
    detail = clean(str(each.get("mismatch") or kind or "differs"), 2000)
    expected, actual = _shown(each.get("expected")), _shown(each.get("actual"))
    if kind == "StatusMismatch":
        summary = f"status is {actual} (expected {expected})"
        return [FieldMismatch(attribute, None, summary, expected, actual, detail)]
    if kind in {"HeaderMismatch", "MetadataMismatch"}:
        return [_keyed(each, attribute, expected, actual, detail)]
    if kind == "BodyTypeMismatch":
        summary = f"body is {actual or 'missing'} (expected {expected})"
        return [FieldMismatch(attribute, None, summary, expected, actual, detail)]
    path = str(each.get("path") or "$")
    missing = _MISSING_KEYS.match(str(each.get("mismatch") or ""))
    if missing:
        return _missing_keys(path, missing["keys"], each.get("expected"), interaction, detail)
    wanted = expectation(interaction, path)
    if _is_scalar(each.get("actual")) and wanted is not None:
        summary = f"body {path} is {actual} (expected {wanted})"
    else:
        summary = f"body {path}: {detail}"
    return [FieldMismatch(attribute, path, clean(summary), wanted or expected, actual, detail)]


def _keyed(
    each: Mapping[str, Any], attribute: str, expected: str | None, actual: str | None, detail: str
) -> FieldMismatch:
    key = str(each.get("key") or "")
    is_missing = not actual or "was missing" in detail
    state = "is missing" if is_missing else f"is {actual}"
    summary = clean(f"{attribute} {key} {state} (expected {expected})")
    return FieldMismatch(attribute, key, summary, expected, None if is_missing else actual, detail)


def _missing_keys(
    path: str, keys: str, expected_keys: Any, interaction: Interaction | None, detail: str
) -> list[FieldMismatch]:
    # Names may hold ", ": the core's list of expected keys tells which ones there are.
    try:
        known = [key for key in json.loads(expected_keys) if isinstance(key, str)]
    except (TypeError, ValueError):
        known = []
    listed = keys.split(", ")
    names = [key for key in known if key in listed] if set(listed) <= set(known) else listed
    found = []
    for name in names or [keys]:
        place = child(path, name)
        wanted = expectation(interaction, place)
        hint = f" (expected {wanted})" if wanted else ""
        summary = clean(f"body {place} is missing{hint}")
        found.append(FieldMismatch("body", place, summary, wanted, "nothing", detail))
    return found


def _shown(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        return short_json(value)
    return clean(value, 2000)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and value.lstrip()[:1] not in {"{", "["} and len(value) <= 200


def _test_result(item: Mapping[str, Any], failure: InteractionFailure | None) -> Mapping[str, Any]:
    result: dict[str, Any] = {"success": failure is None}
    if item.get("interactionId"):
        result["interactionId"] = str(item["interactionId"])
    result["interactionDescription"] = str(item.get("description", ""))
    if failure is None:
        return result
    mismatches = [
        {"attribute": one.attribute, "identifier": one.identifier, "description": one.detail}
        if one.identifier
        else {"attribute": one.attribute, "description": one.detail}
        for one in failure.mismatches
        if one.attribute != "error"
    ]
    exceptions = [{"message": one.detail} for one in failure.mismatches if one.attribute == "error"]
    if mismatches:
        result["mismatches"] = mismatches
    if exceptions:
        result["exceptions"] = exceptions
    return result
