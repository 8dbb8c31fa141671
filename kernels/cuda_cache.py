"""Numba-CUDA's own cache of compiled kernels, in which no state of a folder or file fails a launch."""

from __future__ import annotations

import contextlib
import warnings
from functools import cache as once
from functools import partial
from typing import TYPE_CHECKING, Any

from kseg_batch.errors import KernelCacheWarning

if TYPE_CHECKING:
    from collections.abc import Callable


def keep(dispatcher: Any) -> Any:
    """Let numba-cuda keep what it compiles for a kernel, where it can, and return the kernel."""
    if not hasattr(dispatcher, "enable_caching"):  # in the simulator, nothing is compiled
        return dispatcher
    try:
        dispatcher.enable_caching()
    except (OSError, RuntimeError):  # RuntimeError: Numba finds no folder to which it can write
        _warn_of_loss("there is no folder that can be written")
        return dispatcher
    cache = dispatcher._cache
    cache.load_overload = partial(_load, cache, cache.load_overload)
    cache.save_overload = partial(_save, cache.save_overload)
    return dispatcher


def _load(cache: Any, load: Callable[..., Any], *given: Any) -> Any:
    """Return a kernel from the cache; None if there is none, or if its entry is damaged."""
    try:
        return load(*given)
    except Exception:  # noqa: BLE001 - pickle raises errors of any kind
        _warn(f"compiled GPU kernels in {cache.cache_path} are damaged: they are compiled anew")
        with contextlib.suppress(OSError):
            cache.flush()
        return None


def _save(save: Callable[..., None], *given: Any) -> None:
    """Keep a kernel, if the folder takes it."""
    try:
        save(*given)
    except OSError as error:
        _warn_of_loss(error.strerror or str(error))


def _warn_of_loss(reason: str) -> None:
    _warn(
        f"the compiled GPU kernels of numba-cuda cannot be kept ({reason}): they are compiled for this run "
        "alone; set NUMBA_CACHE_DIR to another folder"
    )


@once
def _warn(text: str) -> None:
    """Warn once of each text."""
    warnings.warn(text, KernelCacheWarning, stacklevel=3)
