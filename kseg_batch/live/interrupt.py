"""Ctrl-C and a request to end, taken note of between two frames, so that what is written can be completed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType
    from typing import Self


class Interrupt:
    """Takes the signals while it is entered. The second one is a KeyboardInterrupt."""

    def __init__(self) -> None:
        self.number: int | None = None
        """Of the signal that came."""

    def __enter__(self) -> Self:
        self._former = {n: signal.signal(n, self._take) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _take(self, number: int, _: FrameType | None) -> None:
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number
