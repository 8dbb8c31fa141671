"""Cameras, through OpenCV, which has a driver for each operating system."""

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


class CameraSource:
    """A camera as a `FrameSource`."""

    time_base = Fraction(1, 1000)
    pixel_aspect: Fraction | None = None
    n_frames: int | None = None
    live = True

    def __init__(self, camera: str, options: LiveOptions) -> None:
        """Open the camera.

        Args:
            camera: The camera's number or device file.
            options: The options; `size` and `every` are used.

        Raises:
            SourceError: The camera is missing or cannot be opened.
            BackendUnavailableError: OpenCV cannot be imported.
        """
        cv2 = import_cv2()
        self.name = f"camera {camera}"
        self.stem = "camera" + Path(camera).name.removeprefix("video")
        self._every, self._size = options.every, options.size
        self._capture = cv2.VideoCapture(int(camera) if camera.isdecimal() else camera)
        if not self._capture.isOpened():
            raise SourceError(_describe_open_failure(camera))
        if self._size is not None:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._size[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._size[1])
        frame_rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frame_rate = Fraction(frame_rate).limit_denominator(1001) if frame_rate > 0 else None
        width, height = (
            int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        self.notes: tuple[str, ...] = ()
        if self._size not in (None, (width, height)):
            self.notes = (
                f"{self.name} does not offer the requested size: frames of {width} x {height} are scaled",
            )

    def frames(self) -> Iterator[Frame]:
        """Yield frames until the camera is unplugged: see `FrameSource.frames`."""
        cv2 = import_cv2()
        start, number = None, 0
        while self._capture.grab():
            now = time.monotonic()
            start = now if start is None else start
            if number % self._every == 0:
                decoded, bgr = self._capture.retrieve()
                if not decoded:
                    break
                if self._size is None:
                    self._size = bgr.shape[1], bgr.shape[0]
                if self._size != (bgr.shape[1], bgr.shape[0]):
                    bgr = cv2.resize(bgr, self._size, interpolation=cv2.INTER_AREA)
                ticks = round((now - start) / self.time_base)
                yield Frame(number, ticks, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
            number += 1
        if number:
            raise SourceError(f"{self.name} sends no more frames: was the camera unplugged?")
        raise SourceError(
            f"{self.name} is connected, but sends no frames: close any other program that uses the camera."
        )

    def close(self) -> None:
        """Release the device."""
        self._capture.release()


def _describe_open_failure(camera: str) -> str:
    """Return the message for a camera that cannot be opened; on Linux, with the cause."""
    if sys.platform != "linux":
        return (
            f"camera {camera} cannot be opened: check that the camera is connected, that access is allowed, "
            "and that no other program uses the camera."
        )
    device = Path(f"/dev/video{camera}" if camera.isdecimal() else camera)
    if not device.exists():
        numbers = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video*"))
        found = f"this machine has camera {', '.join(numbers)}" if numbers else "this machine has no camera"
        return f"camera {camera} does not exist ({device}): {found}; use --source for files and addresses."
    if not os.access(device, os.R_OK | os.W_OK):
        return (
            f"camera {camera} cannot be opened ({device}): permission denied; ask for membership in the "
            "group video."
        )
    return (
        f"camera {camera} ({device}) cannot be opened: another program may be using the camera, or the "
        "device is not a camera."
    )
