"""JPEG files that are whole are done, however odd they are around their scans. Others are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from PIL import Image

from kseg_batch.errors import ImageError
from kseg_batch.images.decode import decode
from tests.support.exactness import greatest_difference
from tests.support.icc import ADOBE_RGB, gamma, matrix_profile
from tests.support.image_files import decoded, encoded
from tests.support.images import photos
from tests.support.jpeg import baseline_jpeg, segment
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

KINDS: dict[str, dict[str, Any]] = {
    "4:2:0": {},
    "4:4:4": {"subsampling": 0},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
}
NO_END = "the end of the JPEG is missing, after its last pixel"
PROFILE = matrix_profile(ADOBE_RGB, gamma(563 / 256), name="wide")
TRAILER = b"SEFH\x67\0\0\0" + bytes(range(256))


def photo_jpeg(mode: str = "RGB", **options: Any) -> bytes:
    return encoded(Image.fromarray(photos()["coffee"][:80, :120]).convert(mode), "JPEG", **options)


WHOLE = {name: photo_jpeg(**options) for name, options in KINDS.items()}
WHOLE |= {"grey": photo_jpeg("L"), "CMYK": photo_jpeg("CMYK")}


def before(data: bytes, marker: int, stray: bytes) -> bytes:
    """The file with bytes before its first marker of a kind."""
    at = data.index(bytes([0xFF, marker]))
    return data[:at] + stray + data[at:]


@pytest.mark.parametrize("name", WHOLE)
def test_stray_bytes_between_segments_are_skipped(name: str) -> None:
    whole = WHOLE[name]
    expected = decode(whole)
    for marker in (0xDB, 0xC4, 0xDA):
        photo = decode(before(whole, marker, b"\0\x07\0\xff\0"))
        assert np.array_equal(photo.rgb, expected.rgb)
        assert photo.notes == (*expected.notes, "4 stray bytes between its segments skipped")


def test_a_profile_and_exif_after_stray_bytes_count() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = photo_jpeg(icc_profile=PROFILE, exif=exif)
    odd = before(data, 0xE1, bytes(3))
    assert np.array_equal(decode(odd).rgb, decode(data).rgb)
    assert decode(odd).notes == ("wide to sRGB", "3 stray bytes between its segments skipped")
    assert decode(odd).turned


@pytest.mark.parametrize("trailer", [b"", TRAILER, b"\xff\xe1\0\x08abcdef", bytes(40)])
@pytest.mark.parametrize("name", WHOLE)
def test_a_missing_end_is_noted(name: str, trailer: bytes) -> None:
    expected = decode(WHOLE[name])
    photo = decode(WHOLE[name][:-2] + trailer)
    assert np.array_equal(photo.rgb, expected.rgb)
    assert photo.notes == (*expected.notes, NO_END)


@pytest.mark.parametrize("stray", [bytes(1), bytes(64), TRAILER[:40]])
@pytest.mark.parametrize("name", WHOLE)
def test_stray_bytes_before_the_end_are_noted(name: str, stray: bytes) -> None:
    expected = decode(WHOLE[name])
    photo = decode(WHOLE[name][:-2] + stray + WHOLE[name][-2:])
    assert np.array_equal(photo.rgb, expected.rgb)
    if photo.notes != expected.notes:  # libjpeg skips up to seven bytes without a word
        noun = "byte" if len(stray) == 1 else "bytes"
        assert photo.notes == (*expected.notes, f"{len(stray)} stray {noun} before its end skipped")
    else:
        assert len(stray) < 8


def test_unknown_numbers_are_noted() -> None:
    whole = WHOLE["4:4:4"]
    jfif = whole[:11] + b"\x02" + whole[12:]
    assert decode(jfif).notes == ("its JFIF version 2.01 is unknown",)
    assert np.array_equal(decode(jfif).rgb, decode(whole).rgb)
    ycc = np.asarray(Image.fromarray(photos()["coffee"][:32, :48]).convert("YCbCr"))
    usual, odd = (baseline_jpeg(ycc, [(1, 1)] * 3, adobe=transform) for transform in (1, 2))
    assert decode(odd).notes == ("its colour transform 2 is unknown for 3 components",)
    assert np.array_equal(decode(odd).rgb, decode(usual).rgb)


def test_a_segment_of_adobe_that_is_too_short_does_not_count() -> None:
    whole = WHOLE["4:4:4"]
    odd = before(whole, 0xDB, b"\0")
    odd = odd[:20] + segment(0xEE, b"Adobe\0d") + odd[20:]
    assert decode(odd).notes == ("1 stray byte between its segments skipped",)
    assert np.array_equal(decode(odd).rgb, decode(whole).rgb)


@pytest.mark.parametrize("parts", [[(0, 1)], [(1, 2)], [(1, 1), (1, 1)], [(2, 2)]])
def test_parts_of_a_profile_that_do_not_fit_are_noted(parts: list[tuple[int, int]]) -> None:
    data = WHOLE["4:2:0"]
    odd = data[:2] + b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes(p) + PROFILE) for p in parts) + data[2:]
    assert decode(odd).notes == ("its colour profile is damaged, and was ignored",)
    assert np.array_equal(decode(odd).rgb, decode(data).rgb)


RARE = {
    "4:1:0": [(4, 2), (1, 1), (1, 1)],
    "3x1": [(3, 1), (1, 1), (1, 1)],
    "1x3": [(1, 3), (1, 1), (1, 1)],
    "mixed": [(2, 2), (2, 1), (1, 1)],
    "more chroma": [(1, 1), (2, 2), (1, 1)],
    "CMYK": [(2, 1), (1, 1), (1, 1), (1, 1)],
    "CMYK, black too": [(2, 2), (1, 1), (1, 1), (2, 2)],
}


def rare_jpeg(name: str, **options: Any) -> bytes:
    mode = "CMYK" if len(RARE[name]) == 4 else "YCbCr"
    channels = np.asarray(Image.fromarray(photos()["coffee"][:70, :90]).convert(mode))
    return baseline_jpeg(channels, RARE[name], **options)


@pytest.mark.parametrize("restart", [0, 3])
@pytest.mark.parametrize("name", RARE)
def test_rare_sampling_factors(name: str, restart: int) -> None:
    data = rare_jpeg(name, restart=restart)
    photo = decode(data)
    if "CMYK" in name:
        expected = np.asarray(decoded(data).convert("RGB"))
        assert photo.notes == ("CMYK was converted to RGB without a colour profile",)
    else:
        expected = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))
        assert photo.notes == ()
    # two builds of libjpeg-turbo may round chroma and colour differently
    assert greatest_difference(photo.rgb, expected) <= 4
    noted = decode(data[:-2] + TRAILER)
    assert np.array_equal(noted.rgb, photo.rgb)
    assert noted.notes == (*photo.notes, NO_END)


@pytest.mark.parametrize("name", RARE)
def test_damage_in_scans_of_rare_sampling_is_refused(name: str) -> None:
    data = rare_jpeg(name, restart=3)
    start = data.index(b"\xff\xda") + 4
    for at in range(start + 40, len(data) - 2, 97):
        with pytest.raises(ImageError, match="it is truncated: the JPEG's scan is not whole"):
            decode(data[:at])
        with pytest.raises(ImageError, match=r"it is a damaged JPEG file|extraneous|Corrupt"):
            decode(
                data[:at] + bytes([254, 254, 254, 254]) + data[at + 4 :]
            )  # nothing but codes without a symbol


@pytest.mark.parametrize("name", WHOLE)
def test_a_scan_that_is_cut_is_refused(name: str) -> None:
    """So is a file whose rest is zeros, because it was not copied to its end."""
    data = WHOLE[name]
    start = data.index(b"\xff\xda")
    for at in range(start, len(data) - 16, max(1, (len(data) - start) // 60)):
        zeros = bytes(len(data) - at)
        for rest in (b"", b"\xff\xd9", zeros, zeros[:-2] + b"\xff\xd9"):
            with pytest.raises(ImageError):
                decode(data[:at] + rest)


def test_missing_scans_of_a_progressive_file_are_refused() -> None:
    data = WHOLE["progressive"]
    at, n = data.index(b"\xff\xda"), 0
    while (at := data.find(b"\xff\xda", at + 2)) >= 0:
        cut = data[: data.rindex(b"\xff\xc4", 0, at)]
        with pytest.raises(ImageError, match="it is truncated: the JPEG's last scans are missing"):
            decode(cut)
        n += 1
    assert n > 5


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (b"\xff\xc3\0\x11\x08", "a lossless JPEG"),
        (b"\xff\xc5\0\x11\x08", "a hierarchical JPEG"),
        (b"\xff\xf7\0\x11\x08", "a JPEG-LS file"),
        (b"\xff\xc1\0\x11\x0c", "a JPEG with 12-bit samples"),
    ],
)
def test_kinds_that_are_not_read_are_named(frame: bytes, kind: str) -> None:
    data = WHOLE["4:2:0"].replace(b"\xff\xc0\0\x11\x08", frame, 1)
    with pytest.raises(ImageError, match=f"it is {kind}, which is not read here; save it as PNG"):
        decode(data)


def test_other_kinds_that_are_not_read() -> None:
    ycc = np.asarray(Image.fromarray(photos()["coffee"][:32, :48]).convert("YCbCr"))
    fractions = baseline_jpeg(ycc, [(3, 1), (2, 1), (1, 1)])
    with pytest.raises(ImageError, match="sampling factors are no multiples of each other, which"):
        decode(fractions)
    with pytest.raises(ImageError, match="a JPEG of 2 components, which is not read here"):
        decode(baseline_jpeg(ycc[..., :2], [(1, 1)] * 2))
    unknown = bytearray(baseline_jpeg(ycc, [(1, 1)] * 3))
    height = unknown.index(b"\xff\xc0") + 5
    unknown[height : height + 2] = bytes(2)
    with pytest.raises(ImageError, match="a JPEG whose height follows its pixels, which is not read here"):
        decode(bytes(unknown))


def test_a_missing_numba_is_named(tmp_path: Path) -> None:
    (tmp_path / "numba.py").write_text("raise ImportError('it is broken')")
    code = """
import sys
from kseg_batch.errors import ImageError
from kseg_batch.images.decode import decode
data = sys.stdin.buffer.read()
print(decode(data).notes)
try:
    decode(data[:-2])
except ImageError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}){code}"],
        input=WHOLE["4:2:0"], capture_output=True, check=True,
    )  # fmt: skip
    whole, odd = done.stdout.decode().splitlines()
    assert whole == "()"
    assert odd.startswith("whether its scan is whole cannot be told: Numba cannot be imported (it is broken)")


def test_the_warm_up_compiles_each_kernel_that_a_file_needs(tmp_path: Path) -> None:
    files = [*(whole[:-2] for whole in WHOLE.values()), *map(rare_jpeg, RARE)]
    for i, data in enumerate(files):
        (tmp_path / f"{i}.jpg").write_bytes(data)
    code = """
from pathlib import Path
from kseg_batch.images.decode import decode
from kseg_batch.images.readers import jpeg_scans
from kseg_batch.kernels.store import STORE
jpeg_scans.warm_up()
n_compiled = STORE.compiled
sizes = [decode(path.read_bytes()).rgb.shape for path in Path().glob("*.jpg")]
print(len(sizes), n_compiled, STORE.compiled)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{len(files)} 4 4\n"
