"""Colour segmentation of photos by exact k-means.

from kseg_batch import segment
s = segment(rgb, k=3)    # rgb: (H, W, 3) uint8
s.labels                 # (H, W) uint8 cluster number of each pixel, 0 for the darkest cluster
s.segmented()            # (H, W, 3) uint8, each pixel in the colour of its cluster's centre

`fit_palette` finds one palette for several images, and `apply_palette` labels an image with a given palette.
Errors are subclasses of `kseg_batch.errors.KsegError`.
"""

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

from kseg_batch import errors as errors

if TYPE_CHECKING:
    from kseg_batch.kmeans.palette import Palette
    from kseg_batch.kmeans.palette_files import read_palette, write_palette
    from kseg_batch.segmentation.segment import Segmentation, apply_palette, fit_palette, segment

__all__ = [
    "Palette",
    "Segmentation",
    "apply_palette",
    "fit_palette",
    "read_palette",
    "segment",
    "write_palette",
]


_MODULES = {
    "Palette": "kmeans.palette",
    "read_palette": "kmeans.palette_files",
    "write_palette": "kmeans.palette_files",
}
"""The module of each public name that is not in `segmentation.segment`."""


def __getattr__(name: str) -> object:
    """Import a public name when it is used, so that the command line begins before NumPy is imported."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULES.get(name, 'segmentation.segment')}")
    return globals().setdefault(name, getattr(module, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _find_kernels() -> None:
    """Make `kseg_batch.kernels` importable in a checkout, where `kernels/` is beside the package."""
    folder = Path(__file__).parent.with_name("kernels")
    if find_spec("kseg_batch.kernels") is None and (folder / "numba_cpu.py").exists():
        spec = spec_from_file_location("kseg_batch.kernels", folder / "__init__.py")
        assert spec is not None and spec.loader is not None
        sys.modules[spec.name] = module = module_from_spec(spec)
        spec.loader.exec_module(module)
        globals().update(kernels=module)  # as the import system does


_find_kernels()
