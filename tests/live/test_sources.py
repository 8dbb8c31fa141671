"""`kseg-batch live` on network streams, from servers on the loopback interface, and on cameras."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from kseg_batch.live.reader import MAX_QUEUED, MAX_QUEUED_LIVE, EndOfStream, FrameReader
from kseg_batch.live.source import Frame
from tests.support.commands import live
from tests.support.images import flat
from tests.support.streams import http_server, mjpeg_parts, rtsp_server
from tests.support.videos import pan, read_video, write_video

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kseg_batch.live.source import FrameSource

MULTIPART = "multipart/x-mixed-replace; boundary=frame"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def check_saved(output: str, path: str = "out.mp4", size: tuple[int, int] = (96, 64)) -> int:
    """Check the video against the summary, with increasing times; return the number of frames."""
    times, images = read_video(Path(path))
    assert output.startswith(f"{len(times)} frames of {size[0]} x {size[1]} in ")
    assert times[0] == 0
    assert all(a < b for a, b in itertools.pairwise(times))
    assert all(image.shape == (size[1], size[0], 3) for image in images)
    return len(times)


def test_a_network_camera_by_http() -> None:
    with http_server(MULTIPART, mjpeg_parts(pan(500))) as address:
        result = live("--source", address, "--save", "out.mp4", "--frames", 12)
    assert (result.exit_code, result.stderr) == (0, "")
    assert check_saved(result.stdout) == 12


def test_a_stream_that_breaks_off(tmp_path: Path) -> None:
    """The frames until then are saved."""
    data = write_video(tmp_path / "clip.ts", pan(40)).read_bytes()
    with http_server("video/mp2t", [data[i : i + 3760] for i in range(0, len(data) // 2, 3760)]) as address:
        result = live("--source", address, "--save", "out.mp4")
    assert result.exit_code == 3
    assert result.stderr.startswith(f"kseg-batch: {address} ")
    assert result.stderr.count("\n") == 1
    assert check_saved(result.stdout) > 0


def test_a_network_camera_by_rtsp() -> None:
    """The password of the address appears in no message."""
    with rtsp_server(pan(60)) as address:
        result = live("--source", address, "--save", "out.mp4")
    shown = address.replace("watcher:secret@", "")
    assert result.exit_code == 3
    assert result.stderr == f"kseg-batch: {shown} ended after 60 frames.\n"
    assert check_saved(result.stdout) > 20


def test_addresses_without_a_server() -> None:
    with http_server(MULTIPART, []) as address:
        missing = live("--source", f"{address}s")
    gone = live("--source", address)
    assert (missing.exit_code, gone.exit_code) == (1, 1)
    assert missing.stderr == f"kseg-batch: {address}s cannot be read: Server returned 404 Not Found.\n"
    assert gone.stderr == f"kseg-batch: {address} cannot be read: Connection refused.\n"


class InstantSource:
    """A source whose frames are available at once."""

    def __init__(self, frames: int, *, is_live: bool) -> None:
        self.live = is_live
        self.closed = threading.Event()
        self._frames = frames

    def frames(self) -> Iterator[Frame]:
        for number in range(self._frames):
            yield Frame(number, number, flat(1, 1))

    def close(self) -> None:
        self.closed.set()


def all_events(reader: FrameReader) -> list[Any]:
    """All events of a reader, to the end."""
    events: list[Any] = []
    while not events or not isinstance(events[-1], EndOfStream):
        events.append(reader.next(timeout=60))
        assert events[-1] is not None
    return events


def start_reader(source: InstantSource) -> FrameReader:
    def open_source() -> FrameSource:
        return source  # type: ignore[return-value] # as much of a source as a reader needs

    return FrameReader(open_source)


def test_no_frame_of_a_file_is_dropped() -> None:
    reader = start_reader(InstantSource(50, is_live=False))
    time.sleep(0.05)
    first, *frames, end = all_events(reader)
    assert isinstance(first, InstantSource)
    assert [frame.number for frame in frames] == list(range(50))
    assert (end.error, reader.dropped) == (None, 0)
    assert first.closed.is_set()


def test_the_newest_frames_of_a_live_source_are_kept() -> None:
    source = InstantSource(50, is_live=True)
    reader = start_reader(source)
    assert isinstance(reader.next(60), InstantSource)
    assert source.closed.wait(60)
    *frames, end = all_events(reader)
    numbers = [frame.number for frame in frames]
    assert isinstance(end, EndOfStream)
    assert numbers[-1] == 49
    assert len(numbers) + reader.dropped == 50
    assert reader.dropped >= 50 - MAX_QUEUED - MAX_QUEUED_LIVE


def test_a_stopped_reader_closes_its_source() -> None:
    source = InstantSource(50, is_live=False)
    reader = start_reader(source)
    reader.stop()
    assert source.closed.is_set()


class FakeCapture:
    """Stands for `cv2.VideoCapture` on a camera of 64 x 48 pixels and 50 frames per second."""

    n_frames = 10**6
    """Number of frames until the camera is unplugged."""
    is_open = True

    def __init__(self, name: int | str) -> None:
        assert name == 3
        self._size = {cv2.CAP_PROP_FRAME_WIDTH: 64.0, cv2.CAP_PROP_FRAME_HEIGHT: 48.0}
        self._seen = 0

    def isOpened(self) -> bool:
        return self.is_open

    def get(self, name: int) -> float:
        return 50.0 if name == cv2.CAP_PROP_FPS else self._size[name]

    def set(self, name: int, value: float) -> bool:
        return False

    def grab(self) -> bool:
        self._seen += 1
        time.sleep(0.005)
        return self._seen <= self.n_frames

    def retrieve(self) -> tuple[bool, np.ndarray]:
        image = flat(48, 64, (200, 60, 0))
        image[:20] = (10, 20, 180)
        return True, image

    def release(self) -> None:
        pass


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> type[FakeCapture]:
    class Own(FakeCapture):
        pass

    monkeypatch.setattr(cv2, "VideoCapture", Own)
    return Own


@pytest.mark.usefixtures("camera")
def test_a_camera() -> None:
    """OpenCV's order, blue, green and red, becomes red, green and blue."""
    result = live("--camera", 3, "--k", 2, "--frames", 10, "--every", 2, "--save", "out.mkv")
    assert (result.exit_code, result.stderr) == (0, "")
    assert check_saved(result.stdout, "out.mkv", (64, 48)) == 10
    _, images = read_video(Path("out.mkv"))
    assert np.abs(images[0][40, 30].astype(int) - (0, 60, 200)).max() < 8


@pytest.mark.usefixtures("camera")
def test_a_camera_without_the_requested_size() -> None:
    result = live("--camera", 3, "--k", 2, "--frames", 2, "--size", "32x24", "--save", "out.mp4")
    assert result.stderr == "camera 3 does not offer the requested size: frames of 64 x 48 are scaled\n"
    assert check_saved(result.stdout, "out.mp4", (32, 24)) == 2


def test_a_camera_that_is_unplugged(camera: type[FakeCapture]) -> None:
    camera.n_frames = 30
    result = live("--camera", 3, "--k", 2, "--save", "out.mp4")
    assert result.exit_code == 3
    assert result.stderr == "kseg-batch: camera 3 sends no more frames: was the camera unplugged?\n"
    check_saved(result.stdout, "out.mp4", (64, 48))


def test_a_camera_that_is_busy(camera: type[FakeCapture]) -> None:
    camera.n_frames = 0
    result = live("--camera", 3, "--save", "out.mp4")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("kseg-batch: camera 3 is connected, but sends no frames: ")
    assert not list(Path().iterdir())


def test_a_missing_camera() -> None:
    result = live("--camera", 63)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("kseg-batch: camera 63 does not exist (/dev/video63): ")
    result = live("--camera", "/dev/null")
    assert result.exit_code == 1
    assert result.stderr.startswith("kseg-batch: camera /dev/null (/dev/null) cannot be opened: ")
