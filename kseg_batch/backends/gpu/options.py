"""Options of the GPU backends: the GPU to use, and the share of its memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kseg_batch.errors import OptionError

if TYPE_CHECKING:
    from kseg_batch.kmeans.options import FitOptions

MIN_GPU_MEMORY = 384 << 20
"""Bytes. A third of it holds a photo of two megapixels beside the 64 MiB in which its colours are counted."""


@dataclass(frozen=True, slots=True)
class GpuOptions:
    """The GPU to use, and how much of its memory."""

    device: int = 0
    """CUDA number of the GPU, from 0."""
    memory: int | None = None
    """Bytes of GPU memory that may be used; None for four fifths of the free memory."""

    def __post_init__(self) -> None:
        """Raise an OptionError for a value that is out of range."""
        if self.device < 0:
            raise OptionError(f"device must be the number of a GPU, 0 or more, not {self.device}.", "device")
        if self.memory is not None and self.memory < MIN_GPU_MEMORY:
            raise OptionError(f"gpu_memory must be at least {MIN_GPU_MEMORY >> 20} MiB.", "gpu_memory")


def check_options(name: str, options: FitOptions) -> None:
    """Raise an OptionError if a GPU backend, here by its name, does not support the options."""
    if options.init == "random":
        raise OptionError(f"The backend {name} has no random init; the backend opencv has.")
