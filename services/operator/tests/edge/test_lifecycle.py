"""What kopf is set up to do."""

from types import SimpleNamespace
from typing import Any

import kopf

from pact_operator.handlers import lifecycle


async def test_watches_outlive_an_api_server_that_is_upgraded_and_are_back_soon_after_it() -> None:
    settings = kopf.OperatorSettings()
    memo = SimpleNamespace(snapshot=SimpleNamespace(bind=lambda **_: None))
    startup: Any = lifecycle.startup
    await startup(settings=settings, memo=memo, objects=None, jobs=None, pods=None, deployments=None)
    waits = settings.networking.error_backoffs
    assert isinstance(waits, tuple), "every request starts from the first"
    assert sum(waits) >= 300
    assert max(waits) <= 5
