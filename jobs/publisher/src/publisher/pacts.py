"""Which pacts are to be published: files read, checked and merged, before anything is sent. Pure but for `read`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brokerclient.text import clean

_MAX_FILE_BYTES = 16 * 1024 * 1024
_LISTS = ("interactions", "messages")
_Items = Sequence[Mapping[str, Any]]


class PactError(Exception):
    """A file cannot be published; the message is one sentence that names it.

    Attributes:
        another_consumer: The pact is sound and belongs to somebody else.
    """

    def __init__(self, message: str, *, another_consumer: bool = False) -> None:
        super().__init__(clean(message, 600))
        self.another_consumer = another_consumer


@dataclass(frozen=True, slots=True)
class PactFile:
    """A file that the consumer's tests wrote; `name` is its path below the pact folder."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Contract:
    """What is published for one provider, from one file or several."""

    provider: str
    document: Mapping[str, Any]
    files: tuple[str, ...]

    @property
    def interactions(self) -> int:
        """Number of interactions and messages."""
        return sum(len(self.document.get(key, ())) for key in _LISTS)


def read(folder: Path) -> list[PactFile]:
    """Read all `*.json` below a folder, in order of their names; hidden files and folders are left alone.

    Raises:
        PactError: A file cannot be read, or is larger than 16 MiB.
        FileNotFoundError: There is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    found = []
    for path in sorted(folder.rglob("*.json")):
        name = str(path.relative_to(folder))
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
            continue
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_FILE_BYTES + 1)
        except OSError as error:
            raise PactError(f"{name} cannot be read: {error.strerror}.") from None
        if len(content) > _MAX_FILE_BYTES:
            raise PactError(f"{name} is larger than {_MAX_FILE_BYTES} bytes: is it a pact?")
        found.append(PactFile(name, content))
    return found


def contracts(files: Iterable[PactFile], consumer: str) -> list[Contract]:
    """Check all files and merge those of the same provider.

    Args:
        files: What was found.
        consumer: Pacticipant name that each pact must name as its consumer.

    Returns:
        One contract per provider, in order of the providers' names.

    Raises:
        PactError: One of them is not a pact of this consumer, or two of one provider contradict each other.
    """
    by_provider: dict[str, Contract] = {}
    for file in files:
        contract = _contract(file, consumer)
        known = by_provider.get(contract.provider)
        by_provider[contract.provider] = contract if known is None else _merged(known, contract)
    return [by_provider[provider] for provider in sorted(by_provider)]


def _contract(file: PactFile, consumer: str) -> Contract:
    try:
        document = json.loads(file.content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise PactError(f"{file.name} is not UTF-8 text: write pacts as JSON in UTF-8.") from None
    except (ValueError, RecursionError) as error:
        where = f": {error}" if isinstance(error, json.JSONDecodeError) else ""
        raise PactError(f"{file.name} is not JSON{where}; did the tests end before they had written it?") from None
    try:
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        # Python reads both; JSON has neither.
        raise PactError(f"{file.name} holds a number or text that JSON cannot carry (NaN, a lone surrogate).") from None
    if not isinstance(document, dict):
        raise PactError(f"{file.name} is not a pact: it is JSON, and not an object.")
    named = _name(document, "consumer", file.name)
    provider = _name(document, "provider", file.name)
    lists = [document[key] for key in _LISTS if key in document]
    if not lists or not all(isinstance(items, list) and all(isinstance(i, dict) for i in items) for items in lists):
        raise PactError(f"{file.name} is not a pact: it has no list of interactions or messages.")
    if named != consumer:
        raise PactError(
            f"{file.name} is a pact of {named!r}, not of {consumer!r}: name the consumer alike in its tests and here.",
            another_consumer=True,
        )
    return Contract(provider, document, (file.name,))


def _name(document: Mapping[str, Any], role: str, file: str) -> str:
    part = document.get(role)
    name = part.get("name") if isinstance(part, Mapping) else None
    if not isinstance(name, str) or not name.strip():
        raise PactError(f"{file} is not a pact: it does not name its {role} ({role}.name).")
    return name


def _merged(one: Contract, other: Contract) -> Contract:
    """Put the interactions of two files of the same pair together.

    Test suites that run in several processes write one file each. The same interaction twice is kept once; two
    interactions that only claim to be the same (description and states) cannot both be right.
    """
    files = f"{', '.join(one.files)} and {other.files[0]}"
    versions = [_specification(contract.document) for contract in (one, other)]
    if versions[0] != versions[1]:
        raise PactError(
            f"{files} are pacts with {one.provider} of different specification versions"
            f" ({versions[0]} and {versions[1]}): write them in one version."
        )
    document = dict(one.document)
    for key in _LISTS:
        if key in other.document:
            document[key] = _joined(document.get(key, []), other.document[key], files)
    return Contract(one.provider, document, one.files + other.files)


def _joined(
    one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]], files: str
) -> list[Mapping[str, Any]]:
    known = {_identity(item): item for item in one}
    joined = list(one)
    for item in other:
        same = known.get(_identity(item))
        if same is None:
            joined.append(item)
        elif same != item:
            raise PactError(
                f"{files} describe {clean(str(item.get('description')), 100)!r} differently:"
                " give the interactions different descriptions or write the files anew."
            )
    return joined


def _identity(item: Mapping[str, Any]) -> str:
    states = item.get("providerStates", item.get("providerState"))
    return json.dumps([item.get("type"), item.get("description"), states], sort_keys=True)


def _specification(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    for key in ("pactSpecification", "pact-specification"):
        part = metadata.get(key)
        if isinstance(part, Mapping) and "version" in part:
            return clean(str(part["version"]), 20)
    return clean(str(metadata.get("pactSpecificationVersion", "none")), 20)
