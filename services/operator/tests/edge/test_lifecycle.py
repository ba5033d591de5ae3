"""What kopf is set up to do."""

from typing import Any

import kopf

from pact_operator.handlers import lifecycle


async def test_watches_outlive_an_api_server_that_is_upgraded_and_are_back_soon_after_it() -> None:
    settings = kopf.OperatorSettings()
    startup: Any = lifecycle.startup
    await startup(settings=settings)
    waits = settings.networking.error_backoffs
    assert isinstance(waits, tuple), "every request starts from the first"
    assert sum(waits) >= 300
    assert max(waits) <= 5
