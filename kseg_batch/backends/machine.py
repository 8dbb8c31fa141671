"""Facts about this machine for `kseg-batch doctor`: packages and their conflicts, codecs, Numba's cache."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import os
import platform
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.backends.gpu.library import PACKAGES
from kseg_batch.processes import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kseg_batch.backends.gpu.driver import Driver

OPENCV = re.compile(r"opencv-(contrib-)?python(-headless)?")
CUPY = re.compile(r"cupy(-(cuda|rocm)[\w-]+)?")
"""Names of the packages that install the module cv2, and the module cupy."""

FORMATS = {
    "AVIF": "AVIF",
    "BMP": "BMP",
    "GIF": "GIF",
    "HEIC": "HEIF",
    "JPEG": "JPEG",
    "JPEG 2000": "JPEG2000",
    "JPEG XL": "JXL",
    "PNG": "PNG",
    "PPM": "PPM",
    "QOI": "QOI",
    "TGA": "TGA",
    "TIFF": "TIFF",
    "WebP": "WEBP",
}
"""Image formats, and Pillow's name for each."""

NAME_FOLDER = "export NUMBA_CACHE_DIR=/a/folder/of/this/user"
INSTALL_DRIVER = "if this machine has a GPU, install its driver: https://www.nvidia.com/drivers"
MEND_DRIVER = "restart the machine; if the problem remains, run nvidia-smi"
UPDATE_DRIVER = "update NVIDIA's driver: https://www.nvidia.com/drivers"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of this machine. kseg-batch may work in spite of the problem."""

    problem: str
    """Description of the problem."""
    fix: str
    """Remedy: a command, or several commands joined by &&, or an instruction."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The computer, its operating system and its Python."""

    python: str
    """Version of Python, such as 3.12.4."""
    system: str
    """Name and version of the operating system, and the architecture."""
    cores: int
    """Number of CPU cores that this process may use."""
    all_cores: int
    """Number of CPU cores of the computer."""


@dataclass(frozen=True, slots=True)
class Codec:
    """Whether image files of one format can be read."""

    name: str
    """Name of the format, such as JPEG."""
    read: bool
    """Whether kseg-batch reads a file of this format that Pillow has written."""


@dataclass(frozen=True, slots=True)
class KernelCache:
    """The cache of the compiled CPU kernels, and what this process has found in it."""

    folder: str
    """The folder that most kernels were read from or kept in; without any, the folder that is tried first."""
    wanted: str | None
    """Value of NUMBA_CACHE_DIR, None if not set."""
    files: int
    """Number of compiled kernels in the folder."""
    others: int
    """Number of these that are for another version or another processor, and so of no use here."""
    size: int
    """Size of these files in bytes."""
    writable: bool
    """Whether kernels can be kept in the folder."""
    read: int
    """Number of kernels that this process has read from a cache."""
    compiled: int
    """Number of kernels that this process has compiled."""
    lost: int
    """Number of these that could not be kept, so that each run compiles them anew."""
    problems: tuple[Finding, ...]
    """Folders that are not used, with the reason and the remedy."""


def read_machine() -> Machine:
    """Return the facts about this machine that the standard library knows."""
    return Machine(platform.python_version(), platform.platform(), usable_cores(), os.cpu_count() or 1)


def installed_packages() -> dict[str, str]:
    """Return the version of each installed package by its normalised name, such as opencv-python."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        try:
            metadata = distribution.metadata
            if "Name" in metadata and "Version" in metadata:  # missing after an interrupted removal
                name = re.sub(r"[-_.]+", "-", metadata["Name"]).lower()
                found.setdefault(name, metadata["Version"])
        except (OSError, UnicodeDecodeError):
            continue
    return found


def matching_packages(pattern: re.Pattern[str], packages: Mapping[str, str]) -> list[str]:
    """Return the names in `packages` that match a pattern, in alphabetical order."""
    return sorted(name for name in packages if pattern.fullmatch(name))


def gpu_packages(driver: Driver, packages: Mapping[str, str]) -> str | None:
    """Return the packages to install for a GPU, as words of a pip command; None if the driver supports none.

    An installed CuPy decides, if the driver supports its CUDA; otherwise, the newest CUDA that the driver
    supports.
    """
    newest = min(driver.cuda_major, max(PACKAGES))
    if newest not in PACKAGES:
        return None
    installed = [major for major in PACKAGES if f"cupy-cuda{major}x" in packages and major <= newest]
    return PACKAGES[installed[0] if len(installed) == 1 else newest]


def gpu_fix(driver: Driver, packages: Mapping[str, str]) -> str:
    """Return the most likely remedy where a GPU backend does not work: a command or an instruction."""
    if driver.problem is not None:
        return INSTALL_DRIVER if driver.cuda is None else MEND_DRIVER
    needed = gpu_packages(driver, packages)
    return UPDATE_DRIVER if needed is None else f"pip install {needed}"


def find_problems(packages: Mapping[str, str], driver: Driver) -> Iterator[Finding]:
    """Yield the conflicts of packages with each other, with the driver, and with the environment."""
    opencv, cupy = matching_packages(OPENCV, packages), matching_packages(CUPY, packages)
    needed = gpu_packages(driver, packages)
    replacement = needed or PACKAGES[max(PACKAGES)]
    if len(opencv) > 1:
        yield _conflict(opencv, "cv2", "opencv-python")
    if len(cupy) > 1:
        yield _conflict(cupy, "cupy", replacement)
    elif (build := re.fullmatch(r"cupy-cuda(\d\d)x", "".join(cupy))) and 0 < driver.cuda_major < int(
        build[1]
    ):
        yield Finding(
            f"{cupy[0]} needs a driver for CUDA {build[1]}, and this driver is for CUDA {driver.cuda}",
            f"pip uninstall -y {cupy[0]} && pip install {replacement}",
        )
    if driver.devices and needed is None:
        yield Finding("kseg-batch needs a driver for CUDA 12 or newer to use the GPU", UPDATE_DRIVER)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if driver.cuda and not driver.devices and hidden is not None:
        yield Finding(f"CUDA_VISIBLE_DEVICES={hidden} may hide a GPU", "unset CUDA_VISIBLE_DEVICES")


def _conflict(names: list[str], module: str, keep: str) -> Finding:
    """Return the finding that several packages install the same module, and the remedy: keep one of them."""
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    return Finding(
        f"{listed} all install the module {module}, and overwrite each other's files",
        f"pip uninstall -y {' '.join(names)} && pip install {keep}",
    )


def read_kernel_cache() -> KernelCache:
    """Inspect the cache of the compiled CPU kernels, after this process has used them.

    Raises:
        ImportError: Numba cannot be imported.
    """
    from kseg_batch.kernels import store
    from kseg_batch.kernels.jit import version_of_host

    used = store.STORE
    places = used.loaded + used.kept
    folder = max(places, key=lambda place: places[place], default=store.kept_folders()[0])
    files = store.entries_in(folder)
    others = sum(f"-{version_of_host()}-" not in path.name for path in files)
    refusals = {place: store.refusal(place) for place in store.kept_folders()}
    lost = used.compiled - used.kept.total()
    problems = []
    for place, reason in used.unread.items():
        if reason != refusals.get(place):  # else the finding below has it
            quoted = shlex.quote(str(place))
            fixes = {store.OTHERS_WRITE: f"rm -r {quoted}", store.UNREADABLE: f"chmod -R a+rX {quoted}"}
            text = f"compiled kernels in {place} are {reason}, and not read"
            problems.append(Finding(text, fixes.get(reason, NAME_FOLDER)))
    if lost:
        reasons = ", ".join(f"{place} ({reason})" for place, reason in refusals.items() if reason)
        problems.append(
            Finding(f"each run compiles its kernels anew, as none can be kept in {reasons}", NAME_FOLDER)
        )
    return KernelCache(
        folder=str(folder),
        wanted=os.environ.get("NUMBA_CACHE_DIR") or None,
        files=len(files),
        others=others,
        size=sum(path.stat().st_size for path in files),
        writable=refusals.get(folder, "") is None,
        read=used.loaded.total(),
        compiled=used.compiled,
        lost=lost,
        problems=tuple(problems),
    )


def read_codecs() -> tuple[Codec, ...]:
    """Encode and decode a small image, in memory, in each format.

    Raises:
        ImportError: A package that reads or writes image files cannot be imported.
    """
    from kseg_batch.images.png import encode_rgb

    encode_rgb(np.zeros((1, 1, 3), np.uint8))
    return tuple(Codec(name, _round_trip(kind)) for name, kind in FORMATS.items())


def _round_trip(kind: str) -> bool:
    """Return whether Pillow writes a file of a format, and kseg-batch reads the file."""
    from PIL import Image

    from kseg_batch.errors import ImageError
    from kseg_batch.images.decode import decode

    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:8] = 255  # black and white survive lossy formats and palettes
    buffer = io.BytesIO()
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_jxl")  # which lets Pillow write the format
    try:
        Image.fromarray(picture).save(buffer, kind)
        decoded = decode(buffer.getvalue()).rgb
    except (KeyError, OSError, ImageError):  # KeyError: this build of Pillow lacks the format
        return False
    return np.array_equal(decoded > 127, picture > 127)
