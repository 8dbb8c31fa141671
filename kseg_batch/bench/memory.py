"""Resident memory of this process, and its peak."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

PEAK_RESET = Path("/proc/self/clear_refs")
"""Linux: the file to which writing 5 resets the peak, VmHWM."""

MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
"""The unit of ru_maxrss, in bytes."""


def resident_mb(field: str) -> float:
    """Return the resident memory of this process on Linux, in MB of 10**6 bytes.

    Args:
        field: VmRSS for the memory now, or VmHWM for its peak since the last reset.

    Raises:
        OSError: The system does not report the field.
    """
    for entry in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if entry.startswith(field):
            return int(entry.split()[1]) * 1024 / 1e6
    raise OSError(f"the system does not report {field}")


class PeakMemory:
    """The peak growth of this process's resident memory since the object was made.

    Outside of Linux the peak cannot be reset, so growth below an earlier peak counts as 0.
    """

    def __init__(self) -> None:
        try:
            PEAK_RESET.write_text("5", encoding="ascii")
            self._before, self._resets = resident_mb("VmRSS"), True
        except OSError:
            self._before, self._resets = _maxrss_mb(), False

    def growth_mb(self) -> float:
        """Return the peak so far minus the memory at the start, in MB of 10**6 bytes."""
        peak = resident_mb("VmHWM") if self._resets else _maxrss_mb()
        return max(0.0, peak - self._before)


def _maxrss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES / 1e6
