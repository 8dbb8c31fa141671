"""The colours of videos: frames are read as players show them, and written as their tags say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import pytest
from av.video.format import VideoFormat

from kseg_batch.images.profiles.cicp import cicp_conversion
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.live.options import LiveOptions
from kseg_batch.live.video import VideoSource
from kseg_batch.live.video_colors import frame_matrix, sample_bits
from tests.support.commands import live
from tests.support.hdr import hlg_signals, pq_signal
from tests.support.images import flat
from tests.support.videos import write_samples, write_video

if TYPE_CHECKING:
    from collections.abc import Sequence

Color = tuple[int, int, int]

COLORS: list[Color] = [
    (0, 200, 0), (200, 0, 0), (0, 0, 200), (250, 120, 30), (20, 180, 230), (128, 128, 128), (255, 255, 255),
]  # fmt: skip

RED_AND_BLUE = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087),
                9: (0.2627, 0.0593)}  # fmt: skip
"""The shares of red and blue in the luma, from H.273: BT.709, FCC, BT.601 twice, SMPTE 240M and BT.2020."""

BT709, BT601, BT2020 = 1, 6, 9
LIMITED, FULL = 1, 2

TOLERANCE = 2
"""Levels. Rounding luma and chroma to 8 bits in the limited range takes 1.6; the conversion back, 0.5."""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def samples(rgb: Sequence[float], matrix: int, color_range: int, bits: int = 8) -> list[int]:
    """Luma, blue difference and red difference of a colour, by the formulas of H.273."""
    red, blue = RED_AND_BLUE[matrix]
    r, g, b = (value / 255 for value in rgb)
    luma = red * r + (1 - red - blue) * g + blue * b
    differences = (b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)
    unit, middle, top = 1 << (bits - 8), 1 << (bits - 1), (1 << bits) - 1
    if color_range == FULL:
        values = [luma * top, *(middle + top * difference for difference in differences)]
    else:
        values = [(16 + 219 * luma) * unit, *(middle + 224 * unit * difference for difference in differences)]
    return [min(max(round(value), 0), top) for value in values]


def color_of(values: Sequence[int]) -> tuple[float, float, float]:
    """The colour of 8-bit samples by the matrix of BT.709, in the limited range: the inverse of `samples`."""
    red, blue = RED_AND_BLUE[BT709]
    luma, by_blue, by_red = (values[0] - 16) / 219, (values[1] - 128) / 224, (values[2] - 128) / 224
    r, b = luma + (2 - 2 * red) * by_red, luma + (2 - 2 * blue) * by_blue
    return 255 * r, 255 * (luma - red * r - blue * b) / (1 - red - blue), 255 * b


def source_of(path: Path, size: tuple[int, int] | None = None) -> VideoSource:
    options = LiveOptions(
        fit=FitOptions(k=1),
        camera="0",
        source=str(path),
        size=size,
        every=1,
        frames=None,
        steady=8.0,
        disable=(),
        window=False,
        save=None,
    )
    return VideoSource(str(path), options)


def write_bt709(path: Path, colors: Sequence[Color], primaries: int, transfer: int) -> Path:
    """Encode flat frames by the matrix of BT.709, with any tags for the primaries and the transfer."""
    return write_samples(
        path,
        [samples(color, BT709, LIMITED) for color in colors],
        matrix=BT709,
        color_range=LIMITED,
        primaries=primaries,
        transfer=transfer,
    )


def check_colors(path: Path, expected: Sequence[Color], tolerance: int = TOLERANCE) -> None:
    """Check that each frame has its flat colour, in every pixel."""
    frames = [frame.rgb for frame in source_of(path).frames()]
    assert len(frames) == len(expected)
    for rgb, color in zip(frames, expected, strict=True):
        assert np.abs(rgb.astype(int) - color).max() <= tolerance, (rgb[0, 0], color)


@pytest.mark.parametrize("color_range", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", RED_AND_BLUE)
def test_the_tagged_matrix_and_range_count(tmp_path: Path, matrix: int, color_range: int) -> None:
    """Also for a size from which another matrix would be guessed."""
    for pix_fmt, bits in (("yuv420p", 8), ("yuv444p", 8), ("yuv420p10le", 10)):
        clip = write_samples(
            tmp_path / f"{pix_fmt}.mkv",
            [samples(color, matrix, color_range, bits) for color in COLORS],
            size=(64, 48) if matrix == BT709 else (1280, 16),
            pix_fmt=pix_fmt,
            matrix=matrix,
            color_range=color_range,
        )
        check_colors(clip, COLORS)


@pytest.mark.parametrize(
    ("size", "matrix"),
    [
        ((640, 480), BT601),
        ((720, 576), BT601),
        ((1278, 718), BT601),
        ((1280, 720), BT709),
        ((1280, 536), BT709),
        ((960, 720), BT709),
        ((480, 854), BT709),
    ],
)
def test_without_tags_the_size_decides(tmp_path: Path, size: tuple[int, int], matrix: int) -> None:
    clip = write_samples(tmp_path / "clip.mp4", [samples(c, matrix, LIMITED) for c in COLORS[:2]], size=size)
    check_colors(clip, COLORS[:2])
    assert source_of(clip).notes == ()


def test_tags_without_a_meaning_are_none() -> None:
    """RGB, for samples of luma and chroma, and the number that H.273 reserves."""
    for (width, height), matrix in (((1280, 720), BT709), ((640, 480), 5)):
        frame = av.VideoFrame(width, height, "yuv420p")
        for tag in (0, 2, 3):
            frame.colorspace = tag
            assert frame_matrix(frame) == matrix


def test_a_scaled_video_keeps_the_matrix_of_its_own_size(tmp_path: Path) -> None:
    clip = write_samples(tmp_path / "clip.mp4", [samples(COLORS[0], BT709, LIMITED)], size=(1280, 720))
    (frame,) = source_of(clip, (33, 17)).frames()
    assert frame.rgb.shape == (17, 33, 3)
    assert np.abs(frame.rgb.astype(int) - COLORS[0]).max() <= TOLERANCE


def test_tags_may_change_from_frame_to_frame(tmp_path: Path) -> None:
    parts = [
        write_samples(
            tmp_path / f"{matrix}.h264",
            [samples(COLORS[0], matrix, color_range)],
            matrix=matrix,
            color_range=color_range,
        )
        for matrix, color_range in ((BT709, LIMITED), (BT601, LIMITED), (BT2020, FULL))
    ]
    clip = tmp_path / "all.h264"
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    check_colors(clip, COLORS[:1] * 3)


@pytest.mark.parametrize(
    ("name", "codec", "matrix"), [("clip.avi", "mjpeg", BT601), ("clip.mp4", "libx264", BT709)]
)
def test_full_range_without_a_matrix(tmp_path: Path, name: str, codec: str, matrix: int) -> None:
    """Motion JPEG has the matrix of BT.601 at any size, as JFIF says; for H.264, the size decides."""
    clip = write_samples(
        tmp_path / name,
        [samples(color, matrix, FULL) for color in COLORS],
        size=(1280, 720),
        codec=codec,
        pix_fmt="yuvj420p",
        color_range=FULL,
    )
    check_colors(clip, COLORS)


@pytest.mark.parametrize(
    ("pix_fmt", "color_range", "black", "grey", "white"),
    [
        ("gray", 0, 0, 100, 255),
        ("gray", FULL, 0, 100, 255),
        ("gray", LIMITED, 16, 102, 235),
        ("gray10le", 0, 0, 402, 1023),
        ("gray10le", LIMITED, 64, 408, 940),
    ],
)
def test_grey_has_the_full_range_unless_tagged(
    tmp_path: Path, pix_fmt: str, color_range: int, black: int, grey: int, white: int
) -> None:
    clip = tmp_path / "clip.mkv"
    write_samples(clip, [[black], [grey], [white]], codec="ffv1", pix_fmt=pix_fmt, color_range=color_range)
    check_colors(clip, [(0, 0, 0), (100, 100, 100), (255, 255, 255)], tolerance=1)


@pytest.mark.parametrize(
    ("codec", "pix_fmt"), [("libx264rgb", "rgb24"), ("ffv1", "bgr0"), ("ffv1", "gbrp10le")]
)
def test_rgb_needs_no_matrix(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    clip = tmp_path / "clip.mkv"
    write_video(clip, [flat(720, 1280, color) for color in COLORS], codec=codec, pix_fmt=pix_fmt)
    check_colors(clip, COLORS, tolerance=1)  # libx264rgb is lossy here


HLG_COLORS: list[Color] = [(255, 0, 0), (0, 200, 0), (0, 0, 255), (240, 200, 40), (120, 120, 120)]
HLG: dict[str, Any] = {"matrix": BT2020, "color_range": LIMITED, "primaries": 9, "transfer": 18}


@pytest.mark.parametrize(("pix_fmt", "bits"), [("yuv420p10le", 10), ("yuv444p10le", 10), ("yuv420p", 8)])
def test_hlg_is_tone_mapped(tmp_path: Path, pix_fmt: str, bits: int) -> None:
    """SDR colours that a studio put into HLG come back, a little darker where they are light."""
    clip = write_samples(
        tmp_path / "clip.mkv",
        [samples(255 * signal, BT2020, LIMITED, bits) for signal in hlg_signals(HLG_COLORS)],
        pix_fmt=pix_fmt,
        **HLG,
    )
    check_colors(clip, HLG_COLORS, 27 if bits == 10 else 33)  # 8 bits of HLG are coarse where it is dark
    notes = [f"{clip}: {bits}-bit samples are rounded to 8 bits"] if bits > 8 else []
    assert source_of(clip).notes == (*notes, f"{clip}: BT.2020 HLG to sRGB, tone-mapped by ITU-R BT.2390")


def test_pq_of_rgb_has_the_colors_of_a_photo(tmp_path: Path) -> None:
    signals = [pq_signal(nits) for nits in (1, 10, 60, 203, 600, 2000)]
    clip = write_samples(
        tmp_path / "clip.mkv",
        [[round(1023 * signal)] * 3 for signal in signals],
        codec="ffv1",
        pix_fmt="gbrp10le",
        primaries=9,
        transfer=16,
    )
    photo = np.round(65535 * np.array(signals)).astype(np.uint16)[None, :, None].repeat(3, axis=2)
    expected = cicp_conversion(9, 16).conversion.apply(photo)[0]
    check_colors(clip, [tuple(color) for color in expected.tolist()], 1)


def test_wide_gamut_without_hdr(tmp_path: Path) -> None:
    """The samples of BT.2020 primaries, of P3 and of SMPTE C become those of sRGB."""
    for primaries, name in ((9, "BT.2020"), (12, "Display P3"), (6, "BT.601 (525 lines)")):
        color = (190, 110, 80)
        clip = write_bt709(tmp_path / f"{primaries}.mkv", [color] * 2, primaries, transfer=1)
        expected = cicp_conversion(primaries, 13).conversion.apply(np.full((1, 1, 3), color, np.uint8))[0, 0]
        check_colors(clip, [tuple(expected.tolist())] * 2, 2 * TOLERANCE)  # a matrix spreads the rounding
        assert source_of(clip).notes == (f"{clip}: {name} to sRGB",)


@pytest.mark.parametrize("tags", [(1, 1), (2, 2), (0, 3), (99, 1), (1, 4), (1, 13)])
def test_tags_that_change_nothing(tmp_path: Path, tags: tuple[int, int]) -> None:
    """Unknown primaries of SDR, and the curves of SDR, by which players show the same colours."""
    clip = write_bt709(tmp_path / "clip.mkv", COLORS, *tags)
    check_colors(clip, COLORS)
    assert source_of(clip).notes == ()


def test_hdr_of_unknown_primaries_is_refused(tmp_path: Path) -> None:
    write_samples(tmp_path / "clip.mkv", [[100, 120, 140]], **{**HLG, "primaries": 13})
    result = live("--source", "clip.mkv")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "kseg-batch: clip.mkv cannot be read: it is HDR with colour primaries that are not known here "
        "(code 13).\n"
    )


@pytest.mark.parametrize(
    ("matrix", "name"), [(8, "YCgCo"), (10, "BT.2020 with constant luminance"), (14, "ICtCp")]
)
def test_other_matrices_are_refused(tmp_path: Path, matrix: int, name: str) -> None:
    write_samples(tmp_path / "clip.mkv", [[100, 120, 140]], pix_fmt="yuv444p", matrix=matrix)
    result = live("--source", "clip.mkv", "--save", "out.mp4")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"kseg-batch: clip.mkv has its colours in {name}, which cannot be read: "
        "convert the video to BT.709.\n"
    )
    assert not Path("out.mp4").exists()


def test_a_pixel_format_that_cannot_be_converted(tmp_path: Path) -> None:
    write_samples(tmp_path / "clip.nut", [[7]], codec="rawvideo", pix_fmt="rgb4")
    result = live("--source", "clip.nut")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "kseg-batch: clip.nut has the pixel format rgb4, which cannot be converted to RGB: "
        "convert the video to yuv420p.\n"
    )


@pytest.mark.parametrize(
    ("pix_fmt", "bits"),
    [("yuv420p", 8), ("yuv420p10le", 10), ("p010le", 10), ("yuva444p12le", 12), ("gray", 8), ("gray10le", 10),
     ("ya16le", 16), ("rgb24", 8), ("rgb565le", 6), ("pal8", 8), ("gbrp12le", 12), ("rgb48le", 16),
     ("x2rgb10le", 10), ("gbrpf32le", 32), ("bayer_rggb8", 8), ("bayer_rggb16le", 16), ("xyz12le", 12),
     ("monow", 1), ("cuda", 0)],
)  # fmt: skip
def test_the_bits_of_a_sample(pix_fmt: str, bits: int) -> None:
    assert sample_bits(VideoFormat(pix_fmt)) == bits


@pytest.mark.parametrize("size", [(64, 48), (1280, 720), (33, 17)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_an_output_is_bt709_by_its_tags_and_by_its_samples(
    tmp_path: Path, suffix: str, size: tuple[int, int]
) -> None:
    """The limit is for the rounding of the source, by 1 level, of the output, by 1.6, and for H.264."""
    for i, color in enumerate(COLORS[:4]):
        write_samples(
            tmp_path / "clip.mkv",
            [samples(color, BT2020, FULL)] * 2,
            size=size,
            pix_fmt="yuv444p",
            matrix=BT2020,
            color_range=FULL,
        )
        out = tmp_path / f"out{i}{suffix}"
        assert live("--source", "clip.mkv", "--save", out, "--k", 1).exit_code == 0
        with av.open(str(out)) as container:
            stream: Any = container.streams.video[0]
            frame = next(container.decode(stream))
        for tagged in (stream.codec_context, frame):
            assert (tagged.color_primaries, tagged.color_trc, tagged.colorspace) == (BT709, BT709, BT709)
            assert tagged.color_range == LIMITED
        assert (
            np.abs(np.subtract(color_of([middle_sample(plane) for plane in frame.planes]), color)).max() <= 3
        )
        if opencv_reads_tags():
            bgr = cv2.VideoCapture(str(out)).read()[1]
            assert np.abs(bgr[..., ::-1].astype(int) - color).max() <= 4  # OpenCV rounds by up to 3 levels


def middle_sample(plane: Any) -> int:
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return int(rows[plane.height // 2, plane.width // 2])


def opencv_reads_tags() -> bool:
    """Whether OpenCV converts by a video's tags; before 4.13, OpenCV took BT.601 always."""
    return tuple(int(part) for part in cv2.__version__.split(".")[:2]) >= (4, 13)


@pytest.mark.parametrize(
    ("suffix", "tags"),
    [
        (".mp4", b"colrnclx\0\1\0\1\0\1\0"),
        (".mov", b"colrnclc\0\1\0\1\0\1"),
        (".mkv", b"\x55\xb1\x81\1"),  # the element MatrixCoefficients, of one byte
    ],
)
def test_the_container_has_the_tags_too(tmp_path: Path, suffix: str, tags: bytes) -> None:
    """Some players look at the container alone."""
    write_video(tmp_path / "clip.mp4", [flat(48, 64, COLORS[0])] * 2)
    assert live("--source", "clip.mp4", "--save", f"out{suffix}").exit_code == 0
    assert tags in Path(f"out{suffix}").read_bytes()
