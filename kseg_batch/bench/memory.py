"""Resident memory of this process, and its peak."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

PEAK_RESET = Path("/proc/self/clear_refs")
"""Linux: to write 5 to it resets the peak, VmHWM."""

MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
"""The unit of ru_maxrss."""


def resident_mb(field: str) -> float:
    """VmRSS, resident memory now, or VmHWM, its peak since the last reset, in MB of 10**6 bytes. Linux.

    Raises:
        OSError: The system does not tell.
    """
    for entry in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if entry.startswith(field):
            return int(entry.split()[1]) * 1024 / 1e6
    raise OSError(f"the system does not tell {field}")


class PeakMemory:
    """How much resident memory grows at most from here on.

    Where the peak cannot be reset, as outside of Linux, what lies below an earlier peak is not seen.
    """

    def __init__(self) -> None:
        try:
            PEAK_RESET.write_text("5", encoding="ascii")
            self._before, self._resets = resident_mb("VmRSS"), True
        except OSError:
            self._before, self._resets = _maxrss_mb(), False

    def growth_mb(self) -> float:
        """The peak so far less what there was before, in MB."""
        peak = resident_mb("VmHWM") if self._resets else _maxrss_mb()
        return max(0.0, peak - self._before)


def _maxrss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES / 1e6
