"""Choose a backend by the flags, and say where the choice is not the one that was hoped for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from kseg_batch.backends.base import BackendInfo
    from kseg_batch.backends.registry import Choice
    from kseg_batch.kmeans.options import FitOptions

B = TypeVar("B", bound="BackendInfo")


def choose_backend(
    choose: Callable[..., Choice[B]], name: str, gpu: bool | None, require_gpu: bool, options: FitOptions
) -> Choice[B]:
    """Take a backend, and say on stderr where it is not the one that was hoped for.

    Args:
        choose: `backends.choose`, or `backends.find` to open no GPU.
        name: Of the backend, or auto.
        gpu: Whether a GPU is preferred; None for either.
        require_gpu: Whether nothing else will do.
        options: What the backend will be asked to do.
    """
    from kseg_batch.backends.registry import GPU_BACKENDS

    if require_gpu or (gpu and name != "auto"):
        return choose(name, only="gpu", options=options)
    choice = choose(name, only="cpu" if gpu is False else None, options=options)
    missed = [p for p in choice.unavailable if gpu or p.installed]
    if missed:
        reasons = "; ".join(f"{p.name}: {p.reason}" for p in missed)
        place, used = "GPU" if choice.backend.name in GPU_BACKENDS else "CPU", choice.backend.name
        print(f"kseg-batch: running on the {place} with {used} ({reasons})", file=sys.stderr)
    return choice
