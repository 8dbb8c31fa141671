"""Tests that need things of the system: skipped where one is missing, or failed with --require-system."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.system import missing, remedy

if TYPE_CHECKING:
    from collections.abc import Iterable


def need(config: pytest.Config, things: Iterable[str]) -> None:
    """Skip the test, or fail with --require-system, where the system lacks one of the things.

    Args:
        config: The configuration of pytest, which has the option.
        things: Names of `tests.support.system.PACKAGES`.
    """
    if lacked := missing(things):
        reason = f"the system lacks {', '.join(lacked)}: {remedy(lacked)}"
        if config.getoption("--require-system"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
