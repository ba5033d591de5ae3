"""Consumer version selectors: which contracts are in scope."""

from collections.abc import Sequence
from typing import Any

from pact_operator.api.v1alpha1 import Selector

DEFAULT = (Selector(main_branch=True), Selector(deployed_or_released=True))
"""What Pact's documentation recommends: main branches, and what is deployed or released."""


def effective(selectors: Sequence[Selector]) -> tuple[Selector, ...]:
    """The selectors that count: those given, else `DEFAULT`."""
    return tuple(selectors) or DEFAULT


def wire(selectors: Sequence[Selector]) -> list[dict[str, Any]]:
    """Selectors as the broker's `for-verification` resource takes them."""
    return [selector.model_dump(by_alias=True, exclude_none=True) for selector in selectors]
