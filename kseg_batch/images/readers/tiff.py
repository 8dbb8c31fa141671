"""Directories of TIFF files: which page is the photo, and what is stored in it.

Pages lie in a chain, and each may have other pages below it. Thumbnails, pyramids, masks and the previews of
camera RAW files are pages, too.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from kseg_batch.errors import ImageError
from kseg_batch.images.raw import raw_refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUBFILE_TYPE, OLD_SUBFILE_TYPE, WIDTH, LENGTH, BITS, COMPRESSION = 254, 255, 256, 257, 258, 259
PHOTOMETRIC, FILL_ORDER, MAKE, STRIPS, ORIENTATION, SAMPLES, STRIP_ROWS, STRIP_BYTES = (
    262, 266, 271, 273, 274, 277, 278, 279,
)  # fmt: skip
PLANAR, PREDICTOR, COLOR_MAP, TILE_WIDTH, TILE_LENGTH, TILES, TILE_BYTES, SUB_PAGES = (
    284, 317, 320, 322, 323, 324, 325, 330,
)  # fmt: skip
EXTRA_SAMPLES, SAMPLE_FORMAT, LUMA, SUBSAMPLING, BLACK_AND_WHITE, ICC_PROFILE, DNG_VERSION = (
    338, 339, 529, 530, 532, 34675, 50706,
)  # fmt: skip
TAGS = frozenset(
    (
        SUBFILE_TYPE, OLD_SUBFILE_TYPE, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, MAKE,
        STRIPS, ORIENTATION, SAMPLES, STRIP_ROWS, STRIP_BYTES, PLANAR, PREDICTOR, COLOR_MAP, TILE_WIDTH,
        TILE_LENGTH, TILES, TILE_BYTES, SUB_PAGES, EXTRA_SAMPLES, SAMPLE_FORMAT, LUMA, SUBSAMPLING,
        BLACK_AND_WHITE, ICC_PROFILE, DNG_VERSION,
    )
)  # fmt: skip
"""The tags that are looked at here."""

WHITE_IS_0, BLACK_IS_0, RGB, PALETTE, TRANSPARENCY_MASK, CMYK, YCBCR, CIE_LAB = 0, 1, 2, 3, 4, 5, 6, 8
CFA, LINEAR_RAW = 32803, 34892  # photometric interpretations of RAW files
PHOTOMETRICS = {
    TRANSPARENCY_MASK: "the pixels of a transparency mask", CMYK: "CMYK colours", YCBCR: "YCbCr colours",
    CIE_LAB: "CIE L*a*b* colours", 9: "ICC L*a*b* colours", 10: "ITU L*a*b* colours", 32844: "LogL samples",
    32845: "LogLuv samples", 51177: "depths",
}  # fmt: skip
"""Names of photometric interpretations that are less usual than grey, RGB and palettes."""

NO_COMPRESSION = 1
CCITT = (2, 3, 4)
COMPRESSIONS = {
    2: "CCITT RLE", 3: "CCITT G3", 4: "CCITT G4", 5: "LZW", 6: "old-style JPEG", 7: "JPEG", 8: "deflate",
    9: "JBIG", 10: "JBIG", 22610: "JPEG XR", 32766: "NeXT RLE", 32771: "CCITT RLE", 32773: "PackBits",
    32809: "ThunderScan", 32946: "deflate", 33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000",
    33007: "JPEG", 34661: "JBIG", 34676: "SGI LogLuv", 34677: "SGI LogLuv", 34712: "JPEG 2000",
    34887: "LERC", 34892: "lossy JPEG", 34925: "LZMA", 34926: "ZSTD", 34927: "WebP", 34933: "PNG",
    34934: "JPEG XR", 50000: "ZSTD", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
SAMPLE_FORMATS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex floating-point"}

NUMBERS = {
    1: "B",
    3: "H",
    4: "I",
    5: "II",
    6: "b",
    7: "B",
    8: "h",
    9: "i",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}
"""Codes of `struct` for the types of values that are numbers, two of them for a fraction.

All other types are read as bytes."""
BYTES_OF_TYPE = {10: 8, 11: 4, 12: 8}
"""Sizes of the other types, where they are not 1."""
PREMULTIPLIED, ALPHA, COREL_ALPHA = 1, 2, 999
"""Kinds of extra samples. Corel Draw wrote the last."""
HORIZONTAL = 2
"""The predictor that stores each sample as its difference to the sample on its left."""
USUAL_LUMA = (299, 1000, 587, 1000, 114, 1000)
"""Shares of red, green and blue in Y, as fractions."""
USUAL_ENDS = (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1)
"""Black and white in Y, and in Cb and Cr the values of grey and of most colour, as fractions."""
MAX_VALUES = 1 << 22
"""Most values of an entry that are read."""
MAX_PAGES_WITH_OTHERS = 16
"""Pages of the chain that are searched for others below them."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a TIFF file."""

    start: int
    """Position of its directory."""
    order: Literal["<", ">"]
    is_big: bool
    """Whether the file is a BigTIFF."""
    tags: dict[int, Sequence[int]]
    """Values of the tags of `TAGS` that the page has."""

    def first(self, tag: int, default: int) -> int:
        """Return the first value of a tag, or a default."""
        values = self.tags.get(tag)
        return values[0] if values else default

    @property
    def width(self) -> int:
        """In pixels; 0 without the tag."""
        return self.first(WIDTH, 0)

    @property
    def height(self) -> int:
        """In pixels; 0 without the tag."""
        return self.first(LENGTH, 0)

    @property
    def n_samples(self) -> int:
        """Samples of a pixel."""
        return self.first(SAMPLES, len(self.tags.get(BITS, (1,))))

    @property
    def bits(self) -> int:
        """Bits of a sample; 0 if they differ."""
        bits = set(self.tags.get(BITS, (1,))[: max(1, self.n_samples)])
        return bits.pop() if len(bits) == 1 else 0

    @property
    def compression(self) -> int:
        """Value of the tag Compression."""
        return self.first(COMPRESSION, NO_COMPRESSION)

    @property
    def photometric(self) -> int:
        """What the samples mean. Without the tag, the number of samples tells, as in libtiff."""
        usual = RGB if self.n_samples > 2 else WHITE_IS_0 if self.compression in CCITT else BLACK_IS_0
        return self.first(PHOTOMETRIC, usual)

    @property
    def is_reduced(self) -> bool:
        """Whether the page is a smaller copy of another one."""
        return self.first(SUBFILE_TYPE, 0) & 1 == 1 or self.first(OLD_SUBFILE_TYPE, 1) == 2

    @property
    def is_mask(self) -> bool:
        """Whether the page tells which pixels of another one are transparent."""
        return self.first(SUBFILE_TYPE, 0) & 4 == 4 or self.first(PHOTOMETRIC, 0) == TRANSPARENCY_MASK


def select_page(data: bytes, notes: list[str]) -> Page:
    """Return the page of a TIFF file that is the photo: the first that is not a smaller copy, nor a mask.

    Args:
        data: The content of the file.
        notes: Notes on other pages, to which others are added.

    Raises:
        ImageError: The file is damaged, a camera RAW file, or of a kind that is not read here.
    """
    chain = list(_chain(data))
    if not chain:
        raise ImageError("it is a damaged TIFF file, or truncated: its directory cannot be read")
    below = [page for parent in chain[:MAX_PAGES_WITH_OTHERS] for page in _pages_below(data, parent, 2)]
    _refuse_raw(data, [*chain, *below])
    full = [page for page in chain if not (page.is_reduced or page.is_mask)]
    if len(full) > 1:
        notes.append(f"the first of {len(full)} frames")
    candidates = full or [page for page in below if not (page.is_reduced or page.is_mask)] or chain
    page = candidates[0]
    if any(other.is_mask and not other.is_reduced for other in chain) and not page.is_mask:
        notes.append("the transparency mask of the TIFF was ignored")
    if page.width <= 0 or page.height <= 0:
        raise ImageError("it is a damaged TIFF file (its size is missing)")
    _check_kind(page)
    if 0 in page.tags.get(STRIPS, ()) or 0 in page.tags.get(TILES, ()):
        raise ImageError(
            "it is a TIFF that leaves out parts of its page, which is not read here; save it as PNG"
        )
    return page


def describe(page: Page) -> str:
    """Return what kind of TIFF a page is, such as "a TIFF with ZSTD compression and 16-bit samples"."""
    traits = []
    if page.compression != NO_COMPRESSION:
        name = COMPRESSIONS.get(page.compression)
        traits.append(f"{name} compression" if name else f"compression {page.compression}")
    formats = set(page.tags.get(SAMPLE_FORMAT, (1,)))
    kind = next((SAMPLE_FORMATS[code] + " " for code in sorted(formats) if code in SAMPLE_FORMATS), "")
    if page.bits == 0:
        traits.append("samples of different bits")
    elif page.bits != 8 or kind:
        traits.append(f"{page.bits}-bit {kind}samples")
    if page.photometric not in (WHITE_IS_0, BLACK_IS_0, RGB, PALETTE):
        traits.append(PHOTOMETRICS.get(page.photometric, f"photometric interpretation {page.photometric}"))
    if page.first(PLANAR, 1) == 2 and page.n_samples > 1:
        traits.append("separate planes")
    kinds = page.tags.get(EXTRA_SAMPLES, ())
    if PREMULTIPLIED in kinds or ALPHA in kinds:
        traits.append("premultiplied alpha" if PREMULTIPLIED in kinds else "alpha")
    elif (n := page.n_samples) not in (1, 3, 4):
        traits.append(f"{n} samples a pixel")
    predictor = page.first(PREDICTOR, 1)
    if predictor > HORIZONTAL or (predictor == HORIZONTAL and page.bits < 8):
        traits.append("a predictor")
    if page.first(FILL_ORDER, 1) == 2:
        traits.append("reversed bits")
    name = "a BigTIFF" if page.is_big else "a TIFF"
    if not traits:
        return name
    *most, last = traits
    return f"{name} with {', '.join(most)} and {last}" if most else f"{name} with {last}"


def refusal(page: Page) -> str:
    """Return the sentence for a page of a kind that is not read here."""
    return f"it is {describe(page)}, which is not read here; save it as PNG"


def is_plain_ycbcr(page: Page) -> bool:
    """Return whether each pixel of a page in YCbCr has the three samples of a JPEG file."""
    luma, ends = page.tags.get(LUMA, USUAL_LUMA), page.tags.get(BLACK_AND_WHITE, USUAL_ENDS)
    return (
        set(page.tags.get(SUBSAMPLING, (2,))) == {1}
        and page.bits == 8
        and np.allclose(_ratios(luma), _ratios(USUAL_LUMA), atol=1e-3)
        and np.allclose(_ratios(ends), _ratios(USUAL_ENDS), atol=1)
    )


def _ratios(numbers: Sequence[int]) -> list[float]:
    """Return fractions that are stored as pairs of numbers; 0 where the second of them is 0."""
    pairs = zip(numbers[::2], numbers[1::2], strict=False)
    return [above / below if below else 0.0 for above, below in pairs][:6]


def _check_kind(page: Page) -> None:
    """Raise an ImageError for a kind that Pillow and libtiff might misinterpret."""
    is_known_ycbcr = page.bits == 8 and (page.compression != NO_COMPRESSION or is_plain_ycbcr(page))
    if (
        set(page.tags.get(SAMPLE_FORMAT, (1,))) - {1, 4}
        or page.bits not in (1, 2, 4, 8, 16)
        or page.photometric not in (WHITE_IS_0, BLACK_IS_0, RGB, PALETTE, CMYK, YCBCR, CIE_LAB)
        or (page.photometric == YCBCR and not is_known_ycbcr)
        or (page.photometric == CIE_LAB and page.bits != 8)
    ):
        raise ImageError(refusal(page))


def _refuse_raw(data: bytes, pages: list[Page]) -> None:
    """Raise an ImageError if a page shows that the file is a camera RAW file."""
    is_canon = data[4:8] == b"\x10\0\0\0" and data[8:11] == b"CR\2"
    is_phase_one = (data[8:12], data[12:16].strip(b"T")) in ((b"IIII", b"waR"), (b"MMMM", b"Raw"))
    is_dng = any(DNG_VERSION in page.tags for page in pages)
    has_mosaic = any(page.photometric in (CFA, LINEAR_RAW) for page in pages)
    if is_canon or is_phase_one or is_dng or has_mosaic:
        make = bytes(value & 255 for value in pages[0].tags.get(MAKE, ()))
        raise ImageError(raw_refusal(data, make, is_dng=is_dng))


def _chain(data: bytes) -> Iterator[Page]:
    """Yield the pages of the chain, up to the first whose directory is damaged."""
    order: Literal["<", ">"] = "<" if data.startswith(b"II") else ">"
    is_big = 43 in data[2:4]
    try:
        (start,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
        seen: set[int] = set()
        while start and start not in seen:
            seen.add(start)
            page, start = _read_page(data, start, order, is_big)
            yield page
    except (struct.error, OverflowError):
        return


def _pages_below(data: bytes, parent: Page, depth: int) -> Iterator[Page]:
    """Yield the pages below a page, and those below them."""
    for start in parent.tags.get(SUB_PAGES, ()) if depth else ():
        try:
            page, _ = _read_page(data, start, parent.order, parent.is_big)
        except (struct.error, OverflowError):
            continue
        yield page
        yield from _pages_below(data, page, depth - 1)


def _read_page(data: bytes, start: int, order: Literal["<", ">"], is_big: bool) -> tuple[Page, int]:
    """Return the page whose directory is at a position, and the position of the next one, or 0."""
    count_format, entry_format, number = ("Q", "HHQ", "Q") if is_big else ("H", "HHI", "I")
    (count,) = struct.unpack_from(order + count_format, data, start)
    at = start + struct.calcsize(count_format)
    entry_bytes, room = (20, 8) if is_big else (12, 4)
    end = at + count * entry_bytes
    if end > len(data):
        raise struct.error("the directory is longer than the file")
    tags: dict[int, Sequence[int]] = {}
    for entry in range(at, end, entry_bytes):
        tag, kind, n = struct.unpack_from(order + entry_format, data, entry)
        if tag not in TAGS or tag in tags:
            continue
        code = NUMBERS.get(kind, "s" * BYTES_OF_TYPE.get(kind, 1))
        values_format = f"{order}{n * len(code)}{code[:1]}" if n <= MAX_VALUES else ""
        where = entry + entry_bytes - room
        if values_format and struct.calcsize(values_format) > room:
            (where,) = struct.unpack_from(order + number, data, where)
        if tag == ICC_PROFILE:
            tags[tag] = (where, n)
        elif kind in NUMBERS:
            tags[tag] = struct.unpack_from(values_format, data, where)
        elif kind == 2:
            tags[tag] = data[where : where + n]
    following = data[end : end + room]
    return Page(start, order, is_big, tags), int.from_bytes(following, "little" if order == "<" else "big")
