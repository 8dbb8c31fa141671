"""Events on an emulated stream, by the clock of the CPU: see `benchmarks.gpu.recording_device.Library`."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.gpu.emulator.device import EmulatedStream


class ClockEvent:
    """The time at which a stream came by."""

    seconds: float

    def happen(self) -> None:
        """Now."""
        self.seconds = time.perf_counter()


class ClockLibrary:
    """Events among the operations that an emulated stream runs."""

    def record(self, stream: EmulatedStream) -> ClockEvent:
        """Queue an event."""
        event = ClockEvent()
        stream.operations.append(event.happen)
        return event

    def milliseconds(self, start: ClockEvent, end: ClockEvent) -> float:
        """The time between two events."""
        return 1e3 * (end.seconds - start.seconds)

    def copy(self, source: NDArray[Any], target: NDArray[Any], stream: EmulatedStream) -> None:
        """Queue a copy."""
        stream.operations.append(functools.partial(np.copyto, target, source))
