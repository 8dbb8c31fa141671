"""Samples of TIFF files, of any number of channels and of up to 16 bits.

Pillow and OpenCV know some combinations of channels, bits, planes and compressions, and OpenCV takes some for
others. But each strip or tile of samples is also one of grey pixels, as many times wider as a pixel has
samples. So Pillow decompresses grey pictures here, and what the samples mean is found afterwards.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kseg_batch.errors import ImageError
from kseg_batch.images.readers import tiff
from kseg_batch.images.readers.orientation import ORIENTATION, turn_upright
from kseg_batch.images.readers.samples import Samples, apply_palette

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kseg_batch.images.profiles.icc import Channels
    from kseg_batch.images.readers.tiff import Page

PREDICTED = (5, 8, 32946, 34925, 50000)
"""Compressions of bytes, whatever the bytes mean, which may come with a predictor."""
COMPRESSIONS = (1, 32773, *PREDICTED)
"""All compressions of bytes."""
COLOR_SAMPLES = {
    tiff.WHITE_IS_0: 1, tiff.BLACK_IS_0: 1, tiff.RGB: 3, tiff.PALETTE: 1, tiff.CMYK: 4, tiff.CIE_LAB: 3,
    tiff.YCBCR: 3,
}  # fmt: skip
"""The samples of a pixel before its extra samples, by the photometric interpretation."""
OTHERS: dict[int, Channels] = {tiff.CMYK: "CMYK", tiff.CIE_LAB: "LAB"}
"""Channels, by the photometric interpretation, that are neither grey nor RGB."""
ORDINARY = {1: tiff.BLACK_IS_0, 3: tiff.RGB}
"""Photometric interpretations, by the samples of a pixel, that Pillow reads well."""
MAX_SAMPLES = 16
"""Most samples of a pixel."""
MAX_BYTES = (1 << 32) - (1 << 26)
"""Most bytes of a BigTIFF that can become an ordinary one."""
SCALES = {1: 255, 2: 85, 4: 17, 8: 1, 16: 1}
"""How often the values of a sample, by its bits, go into those of 8 bits; 1 for 16 bits, which stay."""
SHORT, LONG, UNDEFINED = 3, 4, 7  # types of values
COLUMNS = (tiff.WIDTH, tiff.TILE_WIDTH)
ARRAYS = (tiff.STRIPS, tiff.STRIP_BYTES, tiff.TILES, tiff.TILE_BYTES)
KEPT = (
    tiff.LENGTH, tiff.COMPRESSION, tiff.FILL_ORDER, tiff.STRIP_ROWS, tiff.TILE_LENGTH, *COLUMNS, *ARRAYS,
)  # fmt: skip


def reads_samples(page: Page) -> bool:
    """Return whether the samples of a page are read here, and not by Pillow's own knowledge of TIFF."""
    if page.compression not in COMPRESSIONS or page.photometric not in COLOR_SAMPLES:
        return False
    if page.photometric == tiff.YCBCR:
        return tiff.is_plain_ycbcr(page)
    is_ordinary = ORDINARY.get(page.n_samples) == page.photometric and page.bits == 8
    has_planes = page.n_samples > 1 and page.first(tiff.PLANAR, 1) == 2
    return not is_ordinary or has_planes or (page.is_big and page.order == ">")


def with_page_first(data: bytes, page: Page) -> bytes:
    """Return a TIFF file whose first page is the given one."""
    if page.is_big:
        start = struct.pack(page.order + "Q", page.start)
        return data if data[8:16] == start else data[:8] + start + data[16:]
    start = struct.pack(page.order + "I", page.start)
    return data if data[4:8] == start else data[:4] + start + data[8:]


def with_gray_pages(data: bytes, page: Page) -> bytes:
    """Return a TIFF file with the samples of a page as one grey page, or as one for each separate plane.

    Raises:
        ImageError: The page is damaged, or of a kind that is not read here.
    """
    n, predictor = page.n_samples, page.first(tiff.PREDICTOR, 1)
    is_predicted = predictor != 1 and page.compression in PREDICTED
    is_reversed = page.first(tiff.FILL_ORDER, 1) == 2 and page.bits == 16 and page.order == ">"
    if (
        is_reversed  # Pillow does not know it
        or n < COLOR_SAMPLES[page.photometric]
        or n > MAX_SAMPLES
        or len(data) > MAX_BYTES
        or (is_predicted and (predictor != tiff.HORIZONTAL or page.bits < 8))
    ):
        raise ImageError(tiff.refusal(page))
    if not any(page.tags.get(tag) for tag in (tiff.STRIPS, tiff.TILES)):
        raise ImageError("it is a damaged TIFF file (the place of its pixels is missing)")
    parts = bytearray(data)
    link = 4
    n_planes = n if page.first(tiff.PLANAR, 1) == 2 else 1
    for plane in range(n_planes):
        tags = {tag: page.tags[tag] for tag in KEPT if page.tags.get(tag)}
        for tag in ARRAYS:
            if tag in tags:
                size = len(tags[tag]) // n_planes
                tags[tag] = tags[tag][plane * size : (plane + 1) * size]
        for tag in COLUMNS:
            if tag in tags:
                tags[tag] = [tags[tag][0] * n // n_planes]
        tags |= {tiff.BITS: [page.bits], tiff.PHOTOMETRIC: [tiff.BLACK_IS_0], tiff.SAMPLES: [1]}
        if is_predicted and n == n_planes:
            tags[tiff.PREDICTOR] = [tiff.HORIZONTAL]
        icc = page.tags.get(tiff.ICC_PROFILE) if plane == 0 else None
        link = _append_directory(parts, link, page.order, tags, icc)
    parts[2:4] = struct.pack(page.order + "H", 42)  # a BigTIFF becomes an ordinary one
    return bytes(parts)


def _append_directory(
    data: bytearray, link: int, order: str, tags: dict[int, Sequence[int]], icc: Sequence[int] | None
) -> int:
    """Append a directory, link it from the number at `link`, and return the place of its own link."""
    entries = {}
    for tag, values in tags.items():
        body = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            data += bytes(len(data) % 2)
            at = len(data)
            data += body
            body = struct.pack(order + "I", at)
        if tag in (tiff.BITS, tiff.PHOTOMETRIC, tiff.COMPRESSION):
            body = struct.pack(order + "HH", values[0], 0)
            entries[tag] = struct.pack(order + "HHI", tag, SHORT, 1) + body
        else:
            entries[tag] = struct.pack(order + "HHI", tag, LONG, len(values)) + body
    if icc is not None and icc[1] > 4:
        where, size = icc
        entries[tiff.ICC_PROFILE] = struct.pack(order + "HHII", tiff.ICC_PROFILE, UNDEFINED, size, where)
    data += bytes(len(data) % 2)
    start = len(data)
    struct.pack_into(order + "I", data, link, start)
    data += struct.pack(order + "H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries))
    data += bytes(4)
    return len(data) - 4


def read_samples(picture: Any, page: Page) -> Samples:
    """Return the pixels of a page, turned upright: of uint16 for samples of 16 bits, of uint8 for others.

    Args:
        picture: The file of `with_gray_pages`, as opened by Pillow.
        page: The page.

    Raises:
        ImageError: The page is of a kind that is not read here. Pillow raises errors of its own.
    """
    samples = turn_upright(_unpack(picture, page), page.first(ORIENTATION, 1))
    n = COLOR_SAMPLES[page.photometric]
    colors = samples[..., :n]
    kinds = page.tags.get(tiff.EXTRA_SAMPLES, ())
    if not kinds and page.photometric == tiff.RGB and samples.shape[2] == n + 1:
        kinds = (tiff.ALPHA,)  # some programs leave out the tag
    found = [i for i, kind in enumerate(kinds) if kind in (tiff.PREMULTIPLIED, tiff.ALPHA, tiff.COREL_ALPHA)]
    alpha = samples[..., n + found[0]] if found and n + found[0] < samples.shape[2] else None
    is_premultiplied = alpha is not None and kinds[found[0]] == tiff.PREMULTIPLIED
    if alpha is not None and (
        page.photometric in (*OTHERS, tiff.YCBCR)
        or (is_premultiplied and page.photometric == tiff.WHITE_IS_0)
    ):
        raise ImageError(tiff.refusal(page))
    if page.photometric in OTHERS:
        return Samples(colors, OTHERS[page.photometric])
    if page.photometric == tiff.PALETTE:
        colors = apply_palette(colors[..., 0] // np.uint8(SCALES[page.bits]), _palette(page))
    elif page.photometric == tiff.YCBCR:
        size, stored = (colors.shape[1], colors.shape[0]), np.ascontiguousarray(colors)
        ycbcr = Image.frombuffer("YCbCr", size, stored, "raw", "YCbCr", 0, 1)
        colors = np.asarray(ycbcr.convert("RGB"))
    elif is_premultiplied and alpha is not None:
        colors = _without_alpha(colors, alpha)
    if page.photometric == tiff.WHITE_IS_0:
        colors = ~colors
    if colors.shape[2] == 1:
        colors = colors.repeat(3, axis=2)
    if alpha is None:
        pixels = colors
    elif page.photometric == tiff.RGB and found[0] == 0 and not is_premultiplied:
        pixels = samples[..., : n + 1]
    else:
        pixels = np.concatenate([colors, alpha[..., None]], axis=2)
    is_gray = page.photometric in (tiff.WHITE_IS_0, tiff.BLACK_IS_0)
    return Samples(pixels, "GRAY" if is_gray else "RGB")


def _unpack(picture: Any, page: Page) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the (H, W, N) samples of a page, whose values go up to 255 or to 65535."""
    n, planes = page.n_samples, []
    for plane in range(n if page.first(tiff.PLANAR, 1) == 2 else 1):
        picture.seek(plane)
        picture.load()
        gray = np.asarray(picture)
        if page.bits == 1:
            gray = gray * np.uint8(255)
        planes.append(gray.astype(np.uint16 if page.bits == 16 else np.uint8, copy=False))
    if len(planes) > 1:
        return np.dstack(planes)
    samples: NDArray[Any] = planes[0].reshape(page.height, page.width, n)
    if n > 1 and page.compression in PREDICTED and page.first(tiff.PREDICTOR, 1) == tiff.HORIZONTAL:
        samples = _without_predictor(samples, page.first(tiff.TILE_WIDTH, page.width))
    return samples


def _without_predictor(samples: NDArray[Any], width: int) -> NDArray[Any]:
    """Return the samples of which each is stored as its difference to the one on its left in a tile."""
    parts = [
        np.cumsum(samples[:, x : x + width], axis=1, dtype=samples.dtype)
        for x in range(0, samples.shape[1], width)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _without_alpha(colors: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Return the colours that were multiplied by their alpha; black where alpha is 0."""
    most = np.iinfo(colors.dtype).max
    divisor = np.maximum(alpha, 1)[..., None].astype(np.int64)
    plain = (colors * np.int64(most) + divisor // 2) // divisor
    return np.where(alpha[..., None] > 0, np.minimum(plain, most), 0).astype(colors.dtype)


def _palette(page: Page) -> NDArray[np.uint8]:
    """Return the (n, 3) colours of a palette, which some programs write with values up to 255.

    Raises:
        ImageError: The palette is of a kind that is not read here, or incomplete.
    """
    if page.bits > 8:
        raise ImageError(tiff.refusal(page))
    values = np.array(page.tags.get(tiff.COLOR_MAP, ()), np.uint16)
    if len(values) != 3 << page.bits:
        raise ImageError("it is a damaged TIFF file (its palette is incomplete)")
    if values.max() > 255:
        values >>= 8
    return values.astype(np.uint8).reshape(3, -1).T
