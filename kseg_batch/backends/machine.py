"""What is installed on this machine, which of it clashes, and where Numba keeps its compiled kernels."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import os
import platform
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.processes import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kseg_batch.backends.gpu.driver import Driver

OPENCV = re.compile(r"opencv-(contrib-)?python(-headless)?")
CUPY = re.compile(r"cupy(-(cuda|rocm)[\w-]+)?")
"""Names under which one and the same module, cv2 or cupy, is to be had."""

FORMATS = {
    "AVIF": "AVIF",
    "BMP": "BMP",
    "GIF": "GIF",
    "HEIC": "HEIF",
    "JPEG": "JPEG",
    "PNG": "PNG",
    "TIFF": "TIFF",
    "WebP": "WEBP",
}
"""Kinds of image file, and what Pillow calls each."""

EXTRAS = {12: "cuda12", 13: "cuda13"}
"""The extra of kseg-batch that brings what its GPU backends need, by major version of CUDA."""

INSTALL_DRIVER = "with a GPU, install the driver: https://www.nvidia.com/drivers"
MEND_DRIVER = "restart the machine; if that does not help, run nvidia-smi"
UPDATE_DRIVER = "update NVIDIA's driver: https://www.nvidia.com/drivers"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with this machine, though it may work all the same."""

    problem: str
    """What is wrong."""
    fix: str
    """What mends it: a command, or several with && between."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The computer, and the Python on it."""

    python: str
    """Version of Python."""
    system: str
    """Operating system, its version, and the architecture."""
    cores: int
    """CPU cores that this process may use."""
    all_cores: int
    """CPU cores that there are."""


@dataclass(frozen=True, slots=True)
class Codec:
    """A kind of image file."""

    name: str
    """Such as JPEG."""
    read: bool
    """Whether kseg-batch reads here what Pillow has written."""


@dataclass(frozen=True, slots=True)
class KernelCache:
    """Where Numba keeps compiled kernels from run to run."""

    folder: str
    """Its path."""
    wanted: str | None
    """NUMBA_CACHE_DIR if it is set; Numba passes over one that it cannot write to."""
    problem: str | None
    """Why it cannot be written to; None if it can."""
    files: int
    """Files of compiled kernels and of their index."""
    size: int
    """Bytes in them."""


def read_machine() -> Machine:
    """What the standard library tells."""
    return Machine(platform.python_version(), platform.platform(), usable_cores(), os.cpu_count() or 1)


def installed_packages() -> dict[str, str]:
    """The version of each installed package by its normalised name, such as opencv-python."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        try:
            metadata = distribution.metadata
            if "Name" in metadata and "Version" in metadata:  # not so where a removal stopped half-way
                name = re.sub(r"[-_.]+", "-", metadata["Name"]).lower()
                found.setdefault(name, metadata["Version"])
        except (OSError, UnicodeDecodeError):
            continue
    return found


def like(pattern: re.Pattern[str], packages: Mapping[str, str]) -> list[str]:
    """The installed packages of such a name, in alphabetical order."""
    return sorted(name for name in packages if pattern.fullmatch(name))


def cuda_extra(driver: Driver, packages: Mapping[str, str]) -> str | None:
    """The extra to install for a GPU: that of the CuPy that is there, or the newest that the driver runs.

    None if the driver runs none.
    """
    newest = min(driver.cuda_major, max(EXTRAS))
    if newest not in EXTRAS:
        return None
    there = [major for major in EXTRAS if f"cupy-cuda{major}x" in packages and major <= newest]
    return EXTRAS[there[0] if len(there) == 1 else newest]


def gpu_fix(driver: Driver, packages: Mapping[str, str]) -> str:
    """What makes the GPU backends work, as far as it can be told from here."""
    if driver.problem is not None:
        return INSTALL_DRIVER if driver.cuda is None else MEND_DRIVER
    extra = cuda_extra(driver, packages)
    return UPDATE_DRIVER if extra is None else f"pip install 'kseg-batch[{extra}]'"


def find_problems(packages: Mapping[str, str], driver: Driver) -> Iterator[Finding]:
    """What clashes: packages with each other, with the driver, or with the environment."""
    opencv, cupy = like(OPENCV, packages), like(CUPY, packages)
    extra = cuda_extra(driver, packages) or max(EXTRAS.values())
    if len(opencv) > 1:
        yield _clash(opencv, "cv2", "opencv-python")
    if len(cupy) > 1:
        yield _clash(cupy, "cupy", f"'kseg-batch[{extra}]'")
    elif (build := re.fullmatch(r"cupy-cuda(\d\d)x", "".join(cupy))) and 0 < driver.cuda_major < int(
        build[1]
    ):
        yield Finding(
            f"{cupy[0]} needs a driver for CUDA {build[1]}, and this one is for {driver.cuda}",
            f"pip uninstall -y {cupy[0]} && pip install 'kseg-batch[{extra}]'",
        )
    if driver.devices and cuda_extra(driver, packages) is None:
        yield Finding("kseg-batch needs a driver for CUDA 12 or newer to use the GPU", UPDATE_DRIVER)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if driver.cuda and not driver.devices and hidden is not None:
        yield Finding(f"CUDA_VISIBLE_DEVICES={hidden} may hide a GPU", "unset CUDA_VISIBLE_DEVICES")


def _clash(names: list[str], module: str, keep: str) -> Finding:
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    return Finding(
        f"{listed} are all the module {module}, and overwrite each other's files",
        f"pip uninstall -y {' '.join(names)} && pip install {keep}",
    )


def read_kernel_cache() -> KernelCache:
    """Look into the folder that Numba has chosen for the kernels on the CPU."""
    from kseg_batch.kernels import numba_cpu as kernels

    folder = Path(kernels.count_colors.stats.cache_path)
    files = [path for path in folder.glob("*") if path.suffix in (".nbi", ".nbc")]
    problem = None
    try:
        with tempfile.TemporaryFile(dir=folder):  # as Numba itself finds out; it leaves nothing behind
            pass
    except OSError as error:
        problem = error.strerror
    return KernelCache(
        folder=str(folder),
        wanted=os.environ.get("NUMBA_CACHE_DIR") or None,
        problem=problem,
        files=len(files),
        size=sum(path.stat().st_size for path in files),
    )


def read_codecs() -> tuple[Codec, ...]:
    """Encode and decode a small image, in memory, in each format.

    Raises:
        BackendUnavailableError: OpenCV cannot be imported.
        ImportError: Something else that writes files cannot be.
    """
    from kseg_batch.images.png import encode_rgb

    encode_rgb(np.zeros((1, 1, 3), np.uint8))
    return tuple(Codec(name, _round_trip(kind)) for name, kind in FORMATS.items())


def _round_trip(kind: str) -> bool:
    """Whether Pillow writes such a file, and kseg-batch reads it."""
    from PIL import Image

    from kseg_batch.errors import ImageError
    from kseg_batch.images.decode import decode

    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:8] = 255  # black and white come back from lossy formats and from palettes, too
    buffer = io.BytesIO()
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    try:
        Image.fromarray(picture).save(buffer, kind)
        decoded = decode(buffer.getvalue()).rgb
    except (KeyError, OSError, ImageError):  # KeyError for a format that this Pillow does not have
        return False
    return np.array_equal(decoded > 127, picture > 127)
