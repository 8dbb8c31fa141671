"""Messages of worker processes for the user that are not about an image: warnings on compiled kernels."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from kseg_batch.console import divert_kernel_warnings
from kseg_batch.errors import KernelCacheWarning

if TYPE_CHECKING:
    from collections.abc import Iterable

_collected: list[str] = []


def collect_messages() -> None:
    """Collect the warnings of this process on compiled kernels from now on, for the parent to show."""
    divert_kernel_warnings(_collected.append)


def take_messages() -> tuple[str, ...]:
    """Return the messages since the last call."""
    messages = tuple(_collected)
    _collected.clear()
    return messages


def repeat_warnings(messages: Iterable[str]) -> None:
    """Warn in the parent process of what workers have collected."""
    for message in messages:
        warnings.warn(message, KernelCacheWarning, stacklevel=2)
