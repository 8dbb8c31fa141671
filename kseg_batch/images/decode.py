"""Decoding of image files to upright 8-bit RGB arrays in sRGB.

Files are decoded from bytes, by their content, whatever the file name:

    bytes -> samples in the file's own colours -> turned upright -> alpha apart -> 8-bit sRGB
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import warnings
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import UnidentifiedImageError

from kseg_batch.console import silence_c_libraries
from kseg_batch.errors import ImageError, is_memory_shortage
from kseg_batch.images.boxes import primary_properties
from kseg_batch.images.decoders import decode_samples
from kseg_batch.images.formats import check_whole, detect_format
from kseg_batch.images.profiles.conversion import round_to_8_bits
from kseg_batch.images.profiles.embedded import without_colors
from kseg_batch.images.profiles.source_colors import find_colors
from kseg_batch.images.rare.jpegxl import read_jpegxl
from kseg_batch.images.rare_decoders import RARE_DECODERS
from kseg_batch.images.readers.jpeg import refuse_kind
from kseg_batch.images.readers.orientation import ORIENTATION, TURNED, turn_upright
from kseg_batch.images.readers.refusals import find_refusal
from kseg_batch.images.readers.select_image import select_image
from kseg_batch.optional import find_cv2

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

    from kseg_batch.images.profiles.source_colors import ProfileUse
    from kseg_batch.images.readers.select_image import SelectedImage

Alpha = Literal["keep", "ignore"]
"""How to treat transparent pixels: "keep" leaves them out, "ignore" takes the colours under them."""

MAX_PIXELS = 200_000_000
"""Default limit for the pixels of an image."""

EXIF_IFD, COLOR_SPACE, INTEROPERABILITY_IFD, INTEROPERABILITY_INDEX = 0x8769, 0xA001, 0xA005, 1  # EXIF tags
SRGB, ADOBE_RGB = 1, 2
"""Values of EXIF's ColorSpace. Only some cameras write 2; others say so by the interoperability index R03."""
ANIMATED = ("WEBP", "AVIF", "HEIF")
"""Formats whose frames Pillow counts. In JPEG, further frames are depth or gain maps."""
PNG_EXIF = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
"""The chunks of a PNG that may hold EXIF data."""

DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    UserWarning,
)
"""Exceptions that the parsers of Pillow and simplejpeg raise on damaged files."""


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A decoded image."""

    rgb: NDArray[np.uint8]
    """(H, W, 3) uint8 sRGB, upright."""
    notes: tuple[str, ...]
    """Notes on how the file became 8-bit sRGB, and on what was lost; empty for an ordinary photo."""
    opaque: NDArray[np.bool_] | None = None
    """(H, W) bool, False where a pixel is fully transparent; None if no pixel is."""
    converted: bool = False
    """Whether the pixels were converted to sRGB from other colours; the first note tells from which."""
    turned: bool = False
    """Whether the file stores the photo turned or mirrored, so that EXIF had to turn it upright."""

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The pixels to cluster: (H, W, 3) uint8, or (1, N, 3) without its transparent pixels, if any."""
        return self.rgb if self.opaque is None else self.rgb[self.opaque][None]


def prepare_process() -> None:
    """Prepare a worker process for decoding: one thread per library, and no output of C libraries.

    libtiff, libpng and OpenCV print complaints about damaged files to standard error, without a file name.
    Python's own output still appears.
    """
    silence_c_libraries()
    warnings.simplefilter("ignore")  # Pillow warns about files that are then refused or read
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = f"{1 << 40}"  # `decode` checks sizes
    if (cv2 := find_cv2()) is not None:
        cv2.setNumThreads(1)
    _pillow()


def decode(
    data: bytes, *, max_pixels: int = MAX_PIXELS, alpha: Alpha = "keep", profile: ProfileUse = "convert"
) -> Photo:
    """Decode the bytes of an image file, turned upright by its EXIF orientation, and converted to sRGB.

    Args:
        data: The content of the file.
        max_pixels: Limit for the pixels of the image, which is checked before decoding.
        alpha: How to treat transparent pixels.
        profile: How to treat a colour profile.

    Raises:
        ImageError: The data are not a complete image in a supported format, or the image is too large.
        MemoryError: There is not enough memory for the image.
    """
    if not data:
        raise ImageError("the file is empty")
    name = detect_format(data)
    check_whole(data, name)
    if name == "HEIF":
        _load_heif()
    losses: list[str] = []
    try:
        if name == "JXL":
            data, name = _open_jpegxl(data, max_pixels)
        image = select_image(without_colors(data, name), name, losses)
    except DAMAGE as error:
        raise ImageError(f"it is a damaged {name} file") from error
    try:
        with _open(image, name) as picture:
            _check_size(image.size or picture.size, max_pixels)
            if name in ANIMATED and (n := getattr(picture, "n_frames", 1)) > 1:
                losses.append(f"the first of {n} frames")
            if name in RARE_DECODERS:
                samples = RARE_DECODERS[name](image.data or b"", picture, losses)
            else:
                samples = decode_samples(image, name, picture, losses)
            exif = _read_exif(image.data or b"", name, picture, losses)
            colors = find_colors(
                data, name, picture, samples.channels, profile, is_adobe_rgb=exif.is_adobe_rgb
            )
    except UnidentifiedImageError as error:
        if name == "JPEG":
            refuse_kind(data)
        raise ImageError(find_refusal(image, name, error)) from error
    except (*DAMAGE, ImportError) as error:
        if is_memory_shortage(error):
            raise MemoryError(str(error).partition("\n")[0]) from error
        if isinstance(error, ImportError):
            raise
        if name == "JXL":  # its decoder gives no reason
            raise ImageError(
                "it is truncated, damaged, or a kind of JPEG XL that is not read here"
            ) from error
        raise ImageError(find_refusal(image, name, error)) from error
    pixels = turn_upright(samples.pixels, exif.orientation)
    opaque = None
    if pixels.shape[2] == 4 and samples.channels != "CMYK":
        opaque = _find_opaque(round_to_8_bits(pixels[..., 3]), losses, alpha)
        pixels = pixels[..., :3]
    return Photo(
        rgb=colors.to_srgb(pixels),
        notes=(*colors.notes, *losses),
        opaque=opaque,
        converted=colors.conversion is not None,
        turned=image.is_turned or exif.orientation != 1,
    )


@cache
def _pillow() -> ModuleType:
    from PIL import AvifImagePlugin, Image, PngImagePlugin

    Image.MAX_IMAGE_PIXELS = None  # `decode` checks sizes
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # photo editors write many megabytes
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return Image


@cache
def _load_heif() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError("it is HEIC, which needs one more package: pip install pillow-heif") from error
    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.register_heif_opener()


def _open(image: SelectedImage, name: str) -> Any:
    """Return an image as opened by Pillow; an empty one where Pillow does not read it."""
    if image.data is None:
        return _pillow().Image()
    return _pillow().open(io.BytesIO(image.data), formats=[name])


def _open_jpegxl(data: bytes, max_pixels: int) -> tuple[bytes, str]:
    """Return what is to be decoded of a JPEG XL file, and its format: of a packed JPEG, that JPEG.

    The size is checked here, because Pillow's plugin decodes a file when it opens it.
    """
    file = read_jpegxl(data)
    _check_size(file.size, max_pixels)
    decoder = _load_jpegxl()
    if not file.is_jpeg:
        return data, "JXL"
    is_jpeg, _, jpeg, *_ = decoder(num_threads=0)(data)
    return (bytes(jpeg), "JPEG") if is_jpeg else (data, "JXL")


@cache
def _load_jpegxl() -> Any:
    """Return the decoder of JPEG XL, and let Pillow read the format."""
    try:
        import pillow_jxl
        from pillow_jxl import JpegXLImagePlugin
    except ImportError as error:
        raise ImageError(
            "it is JPEG XL, which needs one more package: pip install pillow-jxl-plugin"
        ) from error
    JpegXLImagePlugin.DECODE_THREADS = 0
    return pillow_jxl.Decoder


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(f"it has {width * height / 1e6:.1f} megapixels, over --max-pixels {max_pixels}")


@dataclass(frozen=True, slots=True)
class _Exif:
    """What EXIF says of an image's pixels, apart from what is done while they are read."""

    orientation: int = 1
    """1 to 8; 1 is upright, also for a number that means nothing."""
    is_adobe_rgb: bool = False
    """Whether a camera says that its file without a profile is in Adobe RGB (DCF 2.0)."""


def _read_exif(data: bytes, name: str, picture: Any, notes: list[str]) -> _Exif:
    if name == "PNG" and not any(chunk in data for chunk in PNG_EXIF):
        return _Exif()  # to look for the tags, Pillow would decode the pixels
    if name == "AVIF" and primary_properties(data):
        return _Exif()  # the properties of the image count, and not EXIF
    if name == "JXL":
        return _Exif()  # the codestream has the orientation, and its decoder turns the image
    try:
        exif = picture.getexif()
        if not exif and "exif" in picture.info:  # for a JPEG, Pillow hides the failure on opening
            exif = _pillow().Exif()
            exif.load(picture.info["exif"])
        orientation = exif.get(ORIENTATION, 1)
        is_adobe_rgb = name == "JPEG" and _says_adobe_rgb(exif)
        return _Exif(orientation if orientation in TURNED else 1, is_adobe_rgb)
    except DAMAGE:
        notes.append("its EXIF data are damaged, so it may lie on its side")
        return _Exif()


def _says_adobe_rgb(exif: Any) -> bool:
    """Whether EXIF says Adobe RGB. Where ColorSpace says sRGB, the index does not count."""
    color_space, index = exif.get_ifd(EXIF_IFD).get(COLOR_SPACE), None
    with contextlib.suppress(KeyError):  # Pillow 12.0 fails without such data, where later ones return none
        index = exif.get_ifd(INTEROPERABILITY_IFD).get(INTEROPERABILITY_INDEX)
    return bool(color_space == ADOBE_RGB or (index == "R03" and color_space != SRGB))


def _find_opaque(alpha: NDArray[np.uint8], notes: list[str], use: Alpha) -> NDArray[np.bool_] | None:
    """Return (H, W) bool, False where a pixel is transparent and to be left out; None if none is.

    Args:
        alpha: (H, W) uint8, 0 where a pixel is fully transparent, and 255 where it is opaque.
        notes: Notes, to which others are added.
        use: How to treat transparent pixels.

    Raises:
        ImageError: All pixels are transparent.
    """
    if (alpha == 255).all():
        return None
    if use == "ignore":
        notes.append("alpha was ignored")
        return None
    visible = alpha > 0
    if not visible.any():
        raise ImageError("every pixel is transparent; --alpha ignore takes the colours under them")
    if (alpha[visible] < 255).any():
        notes.append("partly transparent pixels were taken as opaque")
    return None if visible.all() else visible
