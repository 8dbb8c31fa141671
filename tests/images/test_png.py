"""PNG files read back the same with other libraries."""

import subprocess
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from kseg_batch.errors import ImageError
from kseg_batch.images import png
from kseg_batch.images.label_map import LabelMap
from tests.support.image_files import decoded
from tests.support.images import noise

WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 16, 17, 255, 256])
def test_indexed_png(k: int, width: int) -> None:
    rng = np.random.default_rng(k * 100 + width)
    labels = rng.integers(0, k, (6, width)).astype(np.uint8)
    colors = rng.integers(0, 256, (k, 3)).astype(np.uint8)
    data = png.encode_indexed(LabelMap.pack(labels, k), colors)
    picture = decoded(data)
    assert picture.mode == "P"
    assert np.array_equal(np.asarray(picture), labels)
    assert np.array_equal(np.asarray(picture.convert("RGB")), colors[labels])
    by_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert by_opencv is not None
    assert np.array_equal(by_opencv[..., ::-1], colors[labels])
    bits = data[24]
    assert bits == next(b for b in (1, 2, 4, 8) if k <= 2**b)


def test_the_same_bytes_on_every_stack() -> None:
    """ISA-L's matches depend on the address of its stream, on the stack, unless prevented."""
    disc = np.hypot(*np.mgrid[-30:30, -20:20]).astype(np.uint8)
    maps = [LabelMap.pack((disc + shift) // 7 % 3, 3) for shift in range(7)]
    files: set[bytes] = set()
    over = threading.Event()

    def encode() -> None:
        files.update(png.encode_mask(labels, cluster) for labels in maps for cluster in range(3))
        over.wait()

    size = threading.stack_size(256 * 1024)
    try:
        threads = [threading.Thread(target=encode) for _ in range(2000)]
        for thread in threads:
            thread.start()
    finally:
        threading.stack_size(size)
        over.set()
    for thread in threads:
        thread.join()
    assert len(files) == 3 * len(maps)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 16, 17, 256])
def test_packed_labels_and_masks(k: int, width: int) -> None:
    """Packed labels, as from a GPU, unpack to the labels, and give the masks of the labels."""
    labels = np.random.default_rng(k * 100 + width).integers(0, k, (6, width)).astype(np.uint8)
    packed = LabelMap.pack(labels, k)
    again = LabelMap(packed.rows, width, packed.bits)
    assert np.array_equal(again.labels, labels)
    masks = np.stack([packed.mask(cluster) for cluster in range(k)])
    assert masks.shape == (k, 6, 1 + (width + 7) // 8)
    given = LabelMap(packed.rows, width, packed.bits, masks)
    for cluster in range(k):
        unpacked = np.unpackbits(given.mask(cluster)[:, 1:], axis=1)[:, :width]
        assert np.array_equal(unpacked, labels == cluster)


@pytest.mark.needs("pngcheck")
def test_pngcheck_finds_nothing_wrong(tmp_path: Path) -> None:
    for k in (1, 2, 3, 5, 16, 17, 255):
        labels = noise(31, 33, 0, k, seed=k)[..., 0]
        opaque = noise(31, 33, 0, 2, seed=k)[..., 0] > 0
        for name, packed in (
            ("whole", LabelMap.pack(labels, k)),
            ("clear", LabelMap.pack(labels[opaque], k, opaque)),
        ):
            (tmp_path / f"{name}{k}.png").write_bytes(png.encode_indexed(packed, np.zeros((k, 3), np.uint8)))
            (tmp_path / f"{name}{k}-mask.png").write_bytes(png.encode_mask(packed, 0))
            (tmp_path / f"{name}{k}-gray.png").write_bytes(png.encode_gray(packed.gray))
    files = sorted(map(str, tmp_path.iterdir()))
    result = subprocess.run(["pngcheck", *files], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("OK: ") == len(files) == 42


def test_indexed_png_of_a_view() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (40, 60)).astype(np.uint8)[::2, ::-3]
    picture = decoded(png.encode_indexed(LabelMap.pack(labels, 3), np.zeros((3, 3), np.uint8)))
    assert np.array_equal(np.asarray(picture), labels)


@pytest.mark.parametrize("width", WIDTHS)
def test_mask_png(width: int) -> None:
    mask = np.random.default_rng(width).random((5, width)) < 0.5
    data = png.encode_mask(LabelMap.pack(mask.astype(np.uint8), 2), 1)
    assert decoded(data).mode == "1"
    assert np.array_equal(np.asarray(decoded(data)), mask)
    by_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert by_opencv is not None
    assert np.array_equal(by_opencv, mask * np.uint8(255))


def test_gray_and_rgb_png() -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    assert decoded(png.encode_gray(labels)).mode == "L"
    assert np.array_equal(np.asarray(decoded(png.encode_gray(labels))), labels)
    rgb = noise(9, 11)
    assert np.array_equal(np.asarray(decoded(png.encode_rgb(rgb))), rgb)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 15, 16, 255])
def test_transparent_pixels(k: int) -> None:
    rng = np.random.default_rng(k)
    opaque = rng.random((6, 9)) < 0.7
    labels = rng.integers(0, k, int(opaque.sum())).astype(np.uint8)
    colors = rng.integers(0, 256, (k, 3)).astype(np.uint8)
    packed = LabelMap.pack(labels, k, opaque)
    picture = decoded(png.encode_indexed(packed, colors))
    rgba = np.asarray(picture.convert("RGBA"))
    assert np.array_equal(rgba[..., 3], opaque * np.uint8(255))
    assert np.array_equal(rgba[opaque][:, :3], colors[labels])
    assert np.array_equal(np.asarray(picture)[opaque], labels)
    gray = np.asarray(decoded(png.encode_gray(packed.gray)))
    assert np.array_equal(gray[opaque], labels)
    assert (gray[~opaque] == 255).all()
    whole = np.full(opaque.shape, 255)
    whole[opaque] = labels
    for cluster in range(k):
        mask = np.asarray(decoded(png.encode_mask(packed, cluster)))
        assert np.array_equal(mask, opaque & (whole == cluster))


def test_256_clusters_leave_no_number_for_transparency() -> None:
    with pytest.raises(ImageError, match="use 255, or --alpha ignore"):
        LabelMap.pack(np.zeros(3, np.uint8), 256, np.array([[True, False, True, True]]))


def test_rgb_with_transparent_pixels() -> None:
    rgb, opaque = noise(9, 11), noise(9, 11, 0, 2)[..., 0] > 0
    rgba = np.asarray(decoded(png.encode_rgb(rgb, opaque)))
    assert np.array_equal(rgba[..., 3], opaque * np.uint8(255))
    assert np.array_equal(rgba[opaque][:, :3], rgb[opaque])
    assert not rgba[~opaque].any()
