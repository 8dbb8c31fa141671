"""`kseg-batch live` on video files: the written video or frames, and messages about damaged files."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from PIL import Image as Pillow

from kseg_batch import console
from kseg_batch.backends.numba_cpu import load
from kseg_batch.errors import SourceError
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.live.options import LiveOptions
from kseg_batch.live.rendered_frame import RenderedFrame
from kseg_batch.live.source import Frame
from kseg_batch.live.tracker import Tracker
from kseg_batch.live.video import VideoSource
from tests.support.commands import command_line, kseg, live
from tests.support.faults import with_small_files
from tests.support.images import flat
from tests.support.processes import PATIENCE, wait_until
from tests.support.streams import http_server, mjpeg_parts
from tests.support.videos import TICKS, pan, read_video, write_video

if TYPE_CHECKING:
    from tests.support.images import Image


def rendered_frames(images: list[Image], k: int, disabled: tuple[int, ...] = ()) -> list[RenderedFrame]:
    """Track decoded frames, and return them in the colours of their clusters."""
    tracker = Tracker(load(), FitOptions(k=k), 8.0)
    return [RenderedFrame(Frame(0, 0, image), tracker.track(image), disabled) for image in images]


def options(path: Path, **changes: Any) -> LiveOptions:
    given = {"size": None, "every": 1, "frames": None, "steady": 8.0, "disable": (), "save": None}
    return LiveOptions(fit=FitOptions(k=3), camera="0", source=str(path), window=False, **(given | changes))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_video_becomes_a_video(tmp_path: Path) -> None:
    """The video keeps its times and size, has the colours of the clusters, and no sound."""
    times, images = read_video(write_video(tmp_path / "clip.mp4", pan(40), sound=True))
    words = ("live", "--source", "clip.mp4", "--k", 4, "--no-window", "--save", "out.mp4")
    result = kseg(*words, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "clip.mp4: the sound track is ignored\n")
    first, second = result.stdout.splitlines()
    assert re.fullmatch(r"40 frames of 96 x 64 in \d+\.\d\d s: \d+\.\d frames/s, 0 cuts", first)
    assert second == "saved to out.mp4"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "out.mp4"]
    with av.open("out.mp4") as container:
        assert (len(container.streams.video), len(container.streams.audio)) == (1, 0)
        assert container.streams.video[0].average_rate == 25
    saved_times, saved = read_video(tmp_path / "out.mp4")
    assert saved_times == times
    for rendered, found in zip(rendered_frames(images, 4), saved, strict=True):
        assert (
            np.abs(rendered.rgb.astype(int) - found).mean() < 6
        )  # H.264 loses 4.1 at most; another k has 10


def test_png_frames_are_exact(tmp_path: Path) -> None:
    """Every third frame, five of them: pixel value = cluster, palette = its colour, black where disabled."""
    _, images = read_video(write_video(tmp_path / "clip.mkv", pan(20)))
    result = live("--source", "clip.mkv", "--save", "out", "--every", 3, "--frames", 5, "--disable", 1)
    assert result.exit_code == 0
    names = [f"frame{number:06}.png" for number in (0, 3, 6, 9, 12)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    for name, rendered in zip(names, rendered_frames(images[::3][:5], 5, (1,)), strict=True):
        with Pillow.open(tmp_path / "out" / name) as png:
            assert np.array_equal(np.asarray(png), rendered.tracked.labels)
            assert np.array_equal(np.asarray(png.convert("RGB")), rendered.rgb)
        assert (rendered.rgb[rendered.tracked.labels == 1] == 0).all()


def test_cuts_are_counted(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", [*pan(6), *pan(6, seed=3), *pan(6, seed=7)])
    assert ", 2 cuts\n" in live("--source", "clip.mp4").stdout


@pytest.mark.parametrize(("size", "odd"), [((97, 65), True), ((1, 1), True), ((2, 50), False)])
def test_any_size_and_any_times_stay_as_they_are(tmp_path: Path, size: tuple[int, int], odd: bool) -> None:
    """A variable frame rate, with a pause of four seconds; H.264 in 4:2:0 has even sizes only."""
    ticks = [0, 512, 700, 1024, 12800 * 4, 12800 * 4 + 512]
    write_video(tmp_path / "clip.mkv", pan(6, *size), ticks=ticks)
    result = live("--source", "clip.mkv", "--save", "out.mp4")
    assert result.exit_code == 0
    assert ("is in 4:4:4" in result.stderr) == odd
    expected, _ = read_video(tmp_path / "clip.mkv")
    times, images = read_video(tmp_path / "out.mp4")
    assert times == [Fraction(round(1000 * tick * TICKS), 1000) for tick in ticks] == expected
    assert all(image.shape == (size[1], size[0], 3) for image in images)


def test_size_scales(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", [flat(64, 96, (200, 30, 60))] * 3)
    assert live("--source", "clip.mp4", "--save", "out.mov", "--size", "48x20").exit_code == 0
    _, images = read_video(tmp_path / "out.mov")
    assert images[0].shape == (20, 48, 3)
    assert np.abs(images[0].astype(int) - (200, 30, 60)).max() < 6


def turned(data: bytes, *matrix: int) -> bytes:
    """An MP4 file with a rotation: a part of the matrix, 40 bytes behind `tkhd`, is replaced."""
    at = data.index(b"tkhd") + 44
    a, b, c, d = (number.to_bytes(4, "big", signed=True) for number in (x << 16 for x in matrix))
    return data[:at] + a + b + bytes(4) + c + d + data[at + 20 :]


@pytest.mark.parametrize(
    ("matrix", "quarters"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)]
)
def test_videos_of_a_telephone_are_upright(
    tmp_path: Path, matrix: tuple[int, int, int, int], quarters: int
) -> None:
    clip = write_video(tmp_path / "clip.mp4", pan(3))
    _, images = read_video(clip)
    clip.write_bytes(turned(clip.read_bytes(), *matrix))
    frames = list(VideoSource(str(clip), options(clip)).frames())
    for frame, image in zip(frames, images, strict=True):
        assert np.array_equal(frame.rgb, np.rot90(image, quarters))
        assert frame.rgb.flags.c_contiguous
    scaled = list(VideoSource(str(clip), options(clip, size=(30, 40))).frames())
    assert all(frame.rgb.shape == (40, 30, 3) for frame in scaled)


def test_samples_of_other_kinds(tmp_path: Path) -> None:
    """Grey is read as grey; ten bits are rounded, with a note."""
    ten = write_video(tmp_path / "ten.mp4", pan(3), pix_fmt="yuv420p10le")
    grey = write_video(tmp_path / "grey.mkv", pan(3), codec="ffv1", pix_fmt="gray")
    assert VideoSource(str(ten), options(ten)).notes == (f"{ten}: 10-bit samples are rounded to 8 bits",)
    assert VideoSource(str(grey), options(grey)).notes == ()
    for frame in VideoSource(str(grey), options(grey)).frames():
        assert (frame.rgb == frame.rgb[..., :1]).all()
        assert frame.rgb.std() > 20


def test_a_truncated_video_is_segmented_up_to_its_end(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.mp4", pan(40), options={"movflags": "faststart"})
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) * 3 // 4])
    result = kseg("live", "--source", "clip.mp4", "--no-window", "--save", "out.mp4", cwd=tmp_path)
    assert result.returncode == 3
    found = re.fullmatch(
        r"kseg-batch: clip\.mp4 is damaged or truncated: (\d+) of 40 frames were read\.\n", result.stderr
    )
    assert found is not None, result.stderr
    times, _ = read_video(tmp_path / "out.mp4")
    assert len(times) == int(found[1]) > 20
    assert f"{found[1]} frames of 96 x 64" in result.stdout


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_damage_is_told_from_a_regular_end(tmp_path: Path, suffix: str) -> None:
    clip = write_video(tmp_path / f"clip{suffix}", pan(100))
    assert len(list(VideoSource(str(clip), options(clip)).frames())) == 100
    data = bytearray(clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 800] = bytes(b ^ 0x5A for b in data[middle : middle + 800])
    (tmp_path / f"bad{suffix}").write_bytes(data)
    frames: list[Frame] = []
    with pytest.raises(SourceError, match=r"is damaged: \d+ frames were read, and some frames are wrong"):
        frames.extend(VideoSource(f"bad{suffix}", options(clip)).frames())
    assert 80 < len(frames) <= 100


def test_a_matroska_file_that_is_cut_between_two_frames(tmp_path: Path) -> None:
    """Every frame is whole, but the file is shorter than its header says."""
    clip = write_video(tmp_path / "clip.mkv", pan(100))
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    with pytest.raises(
        SourceError, match=r"is truncated: \d+ frames were read, but the declared duration is 4\.0 s"
    ):
        list(VideoSource(str(clip), options(clip)).frames())


def test_a_stream_that_changes_its_size_is_scaled_to_the_first(tmp_path: Path) -> None:
    parts = [write_video(tmp_path / f"{w}.h264", pan(5, w, h)) for w, h in ((96, 64), (48, 40))]
    both = tmp_path / "both.h264"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = list(VideoSource(str(both), options(both)).frames())
    assert len(frames) == 10
    assert {frame.rgb.shape for frame in frames} == {(64, 96, 3)}


def only_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--source", "none.mp4"], 1, "none.mp4 does not exist."),
        (["--source", "text.mp4"], 1, "text.mp4 cannot be read: Invalid data found when processing input."),
        (["--source", "folder"], 1, "folder is a folder: --source takes a video file or an address"),
        (["--source", "sound.m4a"], 1, "sound.m4a has no video track."),
        (["--source", "clip.mp4", "--save", "no/o.mp4"], 1, "no/o.mp4 cannot be written: there is no folder"),
        (["--source", "clip.mp4", "--save", "folder"], 1, "folder already exists and is not an empty folder"),
        (["--source", "clip.mp4", "--save", "out.gif"], 2, "--save out.gif is neither a video (.mp4, .mkv,"),
        (["--source", "clip.mp4", "--save", "./clip.mp4"], 2, "--save clip.mp4 is the source itself"),
        (["--source", "clip.mp4", "--camera", "0"], 2, "--camera and --source contradict each other"),
        (["--source", ""], 2, "A name is empty"),
        (["--source", "clip.mp4", "--size", "12"], 2, "--size must be WIDTHxHEIGHT such as 1280x720, not"),
        (["--source", "clip.mp4", "--size", "0x9"], 2, "--size must be WIDTHxHEIGHT"),
        (["--source", "clip.mp4", "--every", "0"], 2, "--every must be 1 or more, not 0."),
        (["--source", "clip.mp4", "--frames", "0"], 2, "--frames must be 1 or more, not 0."),
        (["--source", "clip.mp4", "--steady", "256"], 2, "--steady must be from 0 to 255 grey levels"),
        (["--source", "clip.mp4", "--disable", "5"], 2, "--disable 5: with --k 5 the clusters are 0 to 4."),
        (["--source", "clip.mp4", "--k", "257"], 2, "--k must be from 1 to 256, not 257."),
        (["--source", "foo://clip"], 1, "foo://clip cannot be read: Protocol not found."),
    ],
)  # fmt: skip
def test_impossible_commands_get_one_sentence(
    tmp_path: Path, words: list[str], code: int, sentence: str
) -> None:
    write_video(tmp_path / "clip.mp4", pan(2))
    before = (tmp_path / "clip.mp4").read_bytes()
    only_sound(tmp_path / "sound.m4a")
    (tmp_path / "text.mp4").write_text("this is no video\n" * 40)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/notes.txt").write_text("mine")
    names = sorted(path.name for path in tmp_path.iterdir())
    result = live(*words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith(f"kseg-batch: {sentence}")
    assert result.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert (tmp_path / "clip.mp4").read_bytes() == before


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "clip.mp4", pan(2))
    monkeypatch.setitem(sys.modules, "av", None)
    result = live("--source", "clip.mp4")
    assert result.exit_code == 2
    assert result.stderr.endswith("which is not installed; to add it: pip install av\n")


def test_a_name_of_any_kind(tmp_path: Path) -> None:
    name = os.fsdecode(b"50% caf\xe9: what?.mp4")
    write_video(tmp_path / "clip.mp4", pan(2)).rename(tmp_path / name)
    result = kseg("live", "--no-window", "--source", name, "--save", f"o:{name}", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(read_video((tmp_path / f"o:{name}").rename(tmp_path / "out.mp4"))[0]) == 2


def test_quiet_and_an_occasional_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
    write_video(tmp_path / "clip.mp4", pan(4), sound=True)
    lines = live("--source", "clip.mp4", "--every", 2).stderr.splitlines()
    assert lines[0] == "clip.mp4: the sound track is ignored"
    assert [re.sub(r"[\d.]+ frames/s", "", line) for line in lines[1:]] == ["1 of 2 frames, "]
    result = live("--source", "clip.mp4", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_an_output_over_the_file_size_limit(tmp_path: Path) -> None:
    """As on a full disk: no incomplete video is left."""
    write_video(tmp_path / "clip.mkv", pan(30, 640, 360))
    command = command_line("live", "--no-window", "--source", "clip.mkv", "--save", "out.mp4")
    result = subprocess.run(with_small_files(command, 100), capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "kseg-batch: out.mp4 cannot be written: File too large.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(tmp_path: Path, number: int, code: int) -> None:
    """Interrupted in the middle of a stream, the command leaves a whole video."""
    with http_server("multipart/x-mixed-replace; boundary=frame", mjpeg_parts(pan(20)) * 200) as address:
        command = command_line("live", "--no-window", "--save", "out.mp4", "--source", address)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: list(tmp_path.glob(".out.kseg-tmp.mp4")) != [], process=process)
        time.sleep(0.3)
        process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (code, "")
    assert "interrupted: all output written so far is complete\nsaved to out.mp4\n" in output
    times, _ = read_video(tmp_path / "out.mp4")
    assert output.startswith(f"{len(times)} frames of 96 x 64")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
