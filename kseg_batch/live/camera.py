"""Cameras, through OpenCV, which knows how to ask for one on every system."""

from __future__ import annotations

import os
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from kseg_batch.errors import SourceError
from kseg_batch.live.source import Frame
from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kseg_batch.live.options import LiveOptions


class Camera:
    """A `Source`."""

    time_base = Fraction(1, 1000)
    aspect: Fraction | None = None
    n_frames: int | None = None
    live = True

    def __init__(self, camera: str, options: LiveOptions) -> None:
        """Open it.

        Args:
            camera: Its number, or its device file.
            options: Of which size, and how many frames to pass over.

        Raises:
            SourceError: There is no such camera, or it gives no picture.
        """
        cv2 = import_cv2()
        self.name = f"camera {camera}"
        self.stem = "camera" + Path(camera).name.removeprefix("video")
        self._every, self._size = options.every, options.size
        self._capture = cv2.VideoCapture(int(camera) if camera.isdecimal() else camera)
        if not self._capture.isOpened():
            raise SourceError(why_not(camera))
        if self._size is not None:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._size[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._size[1])
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = Fraction(rate).limit_denominator(1001) if rate > 0 else None
        width, height = (
            int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        self.notes: tuple[str, ...] = ()
        if self._size not in (None, (width, height)):
            self.notes = (f"{self.name} has no such size: its {width} x {height} is scaled",)

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`: until it is unplugged."""
        cv2 = import_cv2()
        start, number = None, 0
        while self._capture.grab():
            now = time.monotonic()
            start = now if start is None else start
            if number % self._every == 0:
                done, bgr = self._capture.retrieve()
                if not done:
                    break
                if self._size is None:
                    self._size = bgr.shape[1], bgr.shape[0]
                if self._size != (bgr.shape[1], bgr.shape[0]):
                    bgr = cv2.resize(bgr, self._size, interpolation=cv2.INTER_AREA)
                ticks = round((now - start) / self.time_base)
                yield Frame(number, ticks, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
            number += 1
        if number:
            raise SourceError(f"{self.name} gives no more pictures: was it unplugged?")
        raise SourceError(
            f"{self.name} is there, but gives no picture: end the program that is using it, if there is one."
        )

    def close(self) -> None:
        """See `Source.close`."""
        self._capture.release()


def why_not(camera: str) -> str:
    """The sentence for a camera that cannot be opened."""
    if sys.platform != "linux":
        return (
            f"camera {camera} cannot be opened: is it connected, allowed, and not in use by another program?"
        )
    device = Path(f"/dev/video{camera}" if camera.isdecimal() else camera)
    if not device.exists():
        others = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video*"))
        there = f"there are {', '.join(others)}" if others else "this machine has none"
        return f"camera {camera} is not there ({device}): {there}; files and addresses go to --source."
    if not os.access(device, os.R_OK | os.W_OK):
        return f"camera {camera} may not be used by you ({device}): ask for membership in the group video."
    return (
        f"camera {camera} ({device}) cannot be opened: another program may be using it, or it is no camera."
    )
