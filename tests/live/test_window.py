"""The window of `kseg-batch live`, on a real X server without a screen."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageGrab

from kseg_batch.live.view import PALETTE_HEIGHT
from tests.support.commands import command_line, kseg, live
from tests.support.images import Image, flat
from tests.support.processes import PATIENCE, wait_until
from tests.support.streams import http_server, mjpeg_parts
from tests.support.system import LIBRARIES
from tests.support.videos import pan, write_video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

needs_windows = pytest.mark.needs(*LIBRARIES)
"""Without these libraries OpenCV has no windows, because opencv-python-headless is in its place."""

needs_keys = pytest.mark.needs("xdotool", *LIBRARIES)
"""Presses keys in a window."""


def scene() -> Image:
    """Return an image of three areas: blue, red and yellow from the top down."""
    image = flat(48, 64, (30, 40, 160))
    image[16:32], image[32:] = (200, 30, 40), (240, 220, 60)
    return image


class Screen:
    """The only window on a display: its picture, and keys sent to the window."""

    def __init__(self, display: str, process: subprocess.Popen[str]) -> None:
        self._display = display
        self._process = process
        self._window = ""
        self.wait(self._found)
        self._mapped = time.monotonic()
        self.wait(self._painted)

    def _xdotool(self, *words: str) -> str:
        command = ["xdotool", *words]
        environment = dict(os.environ, DISPLAY=self._display)
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        return done.stdout

    def _found(self) -> bool:
        self._window = self._xdotool("search", "--onlyvisible", "--name", "^kseg-batch: ").strip()
        return self._window != ""

    def _painted(self) -> bool:
        """Return whether the window shows a picture. After a second without a picture, map the window again.

        Without a window manager Qt sometimes misses that its window is on the screen, and draws nothing.
        """
        if self.grab().any():
            return True
        if time.monotonic() > self._mapped + 1:
            self._xdotool("windowunmap", self._window, "windowmap", self._window)
            self._mapped = time.monotonic()
        return False

    def press(self, key: str) -> None:
        """Press a key. OpenCV reports only the last of the keys that are pressed during a frame."""
        self._xdotool("key", "--window", self._window, key)

    def close(self) -> None:
        """Ask the window to close, as the x in the frame of a window manager does."""
        import ctypes

        x11 = ctypes.CDLL("libX11.so.6")
        x11.XOpenDisplay.restype = ctypes.c_void_p
        connection = ctypes.c_void_p(x11.XOpenDisplay(self._display.encode()))
        protocols = x11.XInternAtom(connection, b"WM_PROTOCOLS", 0)
        delete = x11.XInternAtom(connection, b"WM_DELETE_WINDOW", 0)
        # XClientMessageEvent: type, serial, send_event, display, window, message_type, format, five longs
        event = (ctypes.c_long * 24)(33, 0, 1, 0, int(self._window), protocols, 32, delete, 0)
        x11.XSendEvent(
            connection, ctypes.c_ulong(int(self._window)), 0, ctypes.c_long(0), ctypes.byref(event)
        )
        x11.XCloseDisplay(connection)

    def grab(self) -> Image:
        return np.asarray(ImageGrab.grab(xdisplay=self._display).convert("RGB"))

    def wait(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition holds, because the screen changes some time after the key."""
        wait_until(holds, process=self._process, pause=0.02)

    def wait_for(self, *colors: tuple[int, int, int]) -> None:
        """Wait until the areas of the scene, and of the panel beside, have these colours, to JPEG's loss."""
        panels = len(colors) // 3
        scale = 1280 // (64 * panels) if panels > 1 else 640 // 48
        places = [
            (8 * scale + 16 * scale * (i % 3), 32 * scale + 64 * scale * (i // 3)) for i in range(len(colors))
        ]

        def shown() -> bool:
            screen = self.grab().astype(int)
            return all(
                np.abs(screen[place] - color).max() <= 6 for place, color in zip(places, colors, strict=True)
            )

        self.wait(shown)


BLUE, RED, YELLOW, BLACK = (30, 40, 160), (200, 30, 40), (240, 220, 60), (0, 0, 0)


@contextmanager
def window(folder: Path, display: str, *words: object) -> Iterator[tuple[Screen, subprocess.Popen[str]]]:
    with subprocess.Popen(
        command_line("live", *words),
        cwd=folder,
        env=dict(os.environ, DISPLAY=display),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Screen(display, process), process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a camera that shows the scene for a long time."""
    with http_server("multipart/x-mixed-replace; boundary=frame", mjpeg_parts([scene()]) * 20_000) as address:
        yield address


@needs_keys
def test_keys(tmp_path: Path, display: str, address: str) -> None:
    with window(tmp_path, display, "--source", address, "--k", 3) as (screen, process):
        screen.wait_for(BLUE, RED, YELLOW)
        palette = screen.grab()[48 * 13 + PALETTE_HEIGHT // 2, : 64 * 13].astype(int)
        for third, color in enumerate((BLUE, RED, YELLOW)):  # dark to light
            assert np.abs(palette[(third + 1) * 277 - 20] - color).max() <= 6
        screen.press("1")
        screen.wait_for(BLUE, BLACK, YELLOW)
        screen.press("s")
        screen.wait(lambda: len(list(tmp_path.iterdir())) == 1)
        screen.press("o")
        screen.wait_for(BLUE, BLACK, YELLOW, BLUE, RED, YELLOW)
        screen.press("1")
        screen.wait_for(BLUE, RED, YELLOW, BLUE, RED, YELLOW)
        screen.press("0")
        screen.wait_for(BLACK, RED, YELLOW, BLUE, RED, YELLOW)
        screen.press("7")  # no cluster has this number
        screen.press("r")
        screen.press("o")
        screen.wait_for(BLACK, RED, YELLOW)
        screen.press("q")
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    snapshot = re.fullmatch(r"snapshot: (127\.0\.0\.1-frame\d{6}\.png)\n", errors)
    assert snapshot is not None, errors
    with Pillow.open(tmp_path / snapshot[1]) as png:
        assert png.size == (64, 48)
        assert sorted(color for _, color in png.getcolors() or []) == [0, 1, 2]
        rgb = np.asarray(png.convert("RGB")).astype(int)
    for row, color in ((8, BLUE), (24, BLACK), (40, YELLOW)):
        assert np.abs(rgb[row, 32] - color).max() <= 6
    assert re.match(r"\d+ frames of 64 x 48 in ", output)


@needs_keys
def test_pause_and_snapshots_of_a_file(tmp_path: Path, display: str) -> None:
    """A paused picture stands still, and keys work; two snapshots of a frame are two files."""
    write_video(tmp_path / "clip.mp4", pan(500, 64, 48))
    with window(tmp_path, display, "--source", "clip.mp4") as (screen, process):
        screen.wait(lambda: bool(screen.grab().any()))
        screen.press("space")
        still = [screen.grab()]

        def stands_still() -> bool:
            still.append(screen.grab())
            time.sleep(0.2)
            return np.array_equal(still[-1], still[-2])

        screen.wait(stands_still)
        for n_files in (2, 3):
            screen.press("s")
            screen.wait(lambda n=n_files: len(list(tmp_path.iterdir())) == n)  # type: ignore[misc]
        screen.press("0")
        screen.wait(lambda: not np.array_equal(screen.grab(), still[-1]))
        screen.press("space")
        screen.press("q")
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    one, other = re.findall(r"^snapshot: (.*)$", errors, re.MULTILINE)
    assert other == one.replace(".png", "-2.png")
    assert (tmp_path / one).read_bytes() == (tmp_path / other).read_bytes()


@needs_windows
def test_a_file_is_shown_at_its_own_pace_and_to_its_end(tmp_path: Path, display: str) -> None:
    """At 25 frames per second, the last of 26 frames is shown after a second."""
    write_video(tmp_path / "clip.mp4", pan(26, 64, 48))
    result = subprocess.run(
        command_line("live", "--source", "clip.mp4", "--save", "out.mp4"),
        cwd=tmp_path,
        env=dict(os.environ, DISPLAY=display),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    found = re.match(r"26 frames of 64 x 48 in (\d+\.\d+) s", result.stdout)
    assert found is not None
    assert float(found[1]) >= 0.99


@needs_keys
@pytest.mark.parametrize(("action", "code"), [("close", 0), ("interrupt", 130)])
def test_closing_the_window_and_interrupting(
    tmp_path: Path, display: str, address: str, action: str, code: int
) -> None:
    with window(tmp_path, display, "--source", address, "--k", 3) as (screen, process):
        screen.wait_for(BLUE, RED, YELLOW)
        if action == "close":
            screen.close()
        else:
            process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (code, "")
    assert ("interrupted: " in output) == (code == 130)


@needs_windows
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "DISPLAY is not set; "),
        (":54321", ":54321 cannot be opened; "),
    ],
)
def test_without_a_display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str) -> None:
    """The command exits with a message where Qt would abort the process."""
    monkeypatch.setenv("DISPLAY", name)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    result = kseg("live", "--source", "none.mp4", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    sentence = f"There is no display for a window: {reason}to run without a window: --no-window, with --save."
    assert result.stderr == f"kseg-batch: {sentence}\n"


def test_with_an_opencv_without_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The build information of opencv-python-headless."""
    information = "\n  GUI:                           NONE\n\n  Media I/O: \n"
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: information)
    result = live("--window", "--source", "none.mp4")
    assert result.exit_code == 1
    assert result.stderr.startswith("kseg-batch: The installed OpenCV is headless and has no windows: ")
