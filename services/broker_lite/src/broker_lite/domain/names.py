"""Names of pacticipants: display names, and names that resemble one another."""

import re
from collections.abc import Iterable

_BOUNDARY = re.compile(r"[-_\s]|::")
_GENERIC = frozenset({"api", "provider", "service"})


def display_name(name: str) -> str:
    """A readable form of a technical name: ``order-api`` becomes ``Order Api``."""
    spaced = re.sub(r"[-_\s]+", " ", _split_camel_case(name)).strip()
    return " ".join(word[:1].upper() + word[1:] for word in spaced.split(" "))


def _split_camel_case(name: str) -> str:
    spaced = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", name)
    return re.sub(r"([a-z\d])([A-Z])", r"\1 \2", spaced)


def _words(name: str) -> tuple[str, ...]:
    words = (word.lower() for word in _BOUNDARY.split(_split_camel_case(name)) if word)
    singular = (word[:-1] if word.endswith("s") else word for word in words)
    return tuple(word for word in singular if word not in _GENERIC)


def resembling(new_name: str, existing: Iterable[str]) -> list[str]:
    """Existing names that are probably meant by a new name; empty if the name itself exists.

    Words are compared without case, separators, plural endings and the generic words api, provider and service.
    """
    names = list(existing)
    if new_name in names:
        return []
    wanted = _words(new_name)
    return [name for name in names if _words(name) == wanted]


def duplicate_message(new_name: str, existing: Iterable[str], base_url: str) -> str:
    """The text that a publisher gets who names a pacticipant almost like an existing one."""
    listed = "\n".join(f"* {name}" for name in existing)
    return (
        f'This is the first time a pact has been published for "{new_name}".\n'
        f'The name "{new_name}" is very similar to the following existing pacticipants:\n'
        f"{listed}\n"
        "If you meant to specify one of the above names, please correct the pact configuration, and re-publish the "
        "pact.\n"
        "If the pact is intended to be for a new consumer or provider, please manually create "
        f'"{new_name}" using the following command from the Pact Broker CLI, and then re-publish the pact:\n\n'
        f'pact-broker create-or-update-pacticipant --name "{new_name}" --broker-base-url {base_url}\n\n'
        "For information on the Pact Broker CLI see https://docs.pact.io/go/pbc-cli\n"
        "To disable this check, set `check_for_potential_duplicate_pacticipant_names` to false in the configuration.\n"
    )
