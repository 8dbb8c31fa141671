"""The choice of a backend by the flags, with a message where a preferred backend cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from kseg_batch.console import print_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from kseg_batch.backends.base import BackendInfo
    from kseg_batch.backends.registry import Choice
    from kseg_batch.kmeans.options import FitOptions

B = TypeVar("B", bound="BackendInfo")


def choose_backend(
    choose: Callable[..., Choice[B]], name: str, gpu: bool | None, require_gpu: bool, options: FitOptions
) -> Choice[B]:
    """Choose a backend, and print a message on standard error if a preferred one cannot be used.

    Args:
        choose: `registry.choose`, or `registry.find`, which opens no GPU.
        name: Name of the backend, or auto.
        gpu: True to prefer a GPU, False to use none, None for no preference.
        require_gpu: Whether to fail if no GPU can be used.
        options: The options that the backend has to support.

    Raises:
        BackendUnavailableError: No backend can run, or the required one cannot.
    """
    from kseg_batch.backends.registry import GPU_BACKENDS

    if require_gpu or (gpu and name != "auto"):
        return choose(name, only="gpu", options=options)
    choice = choose(name, only="cpu" if gpu is False else None, options=options)
    unavailable = [backend for backend in choice.unavailable if gpu or backend.installed]
    if unavailable:
        by_reason: dict[str, list[str]] = {}
        for backend in unavailable:
            by_reason.setdefault(backend.reason, []).append(backend.name)
        reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
        chosen = choice.backend.name
        device = "GPU" if chosen in GPU_BACKENDS else "CPU"
        print_message(f"running on the {device} with {chosen} ({reasons})")
    return choice
