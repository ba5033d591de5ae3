"""What is served is served as the reference broker does: its recorded exchanges, replayed in order."""

import pytest

from services.broker_lite.tests.conftest import BACKENDS, NewStore
from services.broker_lite.tests.support import replay, replay_run
from services.broker_lite.tests.support.not_equal import NOT_EQUAL, NOT_EQUAL_WEBHOOKS

FILES = [(name[:2], name) for name in replay.files()]


@pytest.fixture(scope="module", params=BACKENDS)
def outcome(request: pytest.FixtureRequest, new_store: NewStore) -> replay_run.Outcome:
    return replay_run.run(new_store(request.param), new_store(request.param))


@pytest.mark.parametrize("file", [name for _, name in FILES])
def test_exchanges_are_equal_or_listed(outcome: replay_run.Outcome, file: str) -> None:
    keys = [key for key in outcome.differences if key.startswith(f"{file[:2]}#")]
    assert keys, "nothing was replayed"
    differing = {key for key in keys if outcome.differences[key]}
    unexpected = sorted(differing - NOT_EQUAL.keys())
    text = "\n".join(
        f"{key} {outcome.titles[key]}\n    " + "\n    ".join(outcome.differences[key][:10]) for key in unexpected
    )
    assert not unexpected, f"not as recorded:\n{text}"
    mended = sorted((set(keys) & NOT_EQUAL.keys()) - differing)
    assert not mended, f"listed as different but equal, take off the list: {mended}"


def test_list_names_existing_exchanges(outcome: replay_run.Outcome) -> None:
    assert NOT_EQUAL.keys() <= outcome.differences.keys()


def test_webhooks_arrive_as_recorded(outcome: replay_run.Outcome) -> None:
    assert outcome.webhooks.keys() == NOT_EQUAL_WEBHOOKS.keys(), outcome.webhooks


def test_how_many_are_equal(outcome: replay_run.Outcome) -> None:
    equal = sum(not found for found in outcome.differences.values())
    print(f"\n{equal} of {len(outcome.differences)} recorded exchanges are equal")
    for _, name in FILES:
        of_file = [found for key, found in outcome.differences.items() if key.startswith(f"{name[:2]}#")]
        print(f"  {name}: {sum(not found for found in of_file)} of {len(of_file)}")
    assert equal == len(outcome.differences) - len(NOT_EQUAL)
