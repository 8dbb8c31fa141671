"""The checkpoint of a fit: the colours counted so far, in a file beside the palette, for the next fit."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.atomic import replacing, temporary_of
from kseg_batch.batch.storage.source import DIGEST_BYTES
from kseg_batch.errors import KsegError
from kseg_batch.kmeans.histogram import ColorHistogram

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


FORMAT = "kseg-batch partial palette 1"


UNREADABLE = (
    OSError,
    EOFError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Exceptions that NumPy raises for a file that is incomplete, damaged, or no checkpoint."""


class StaleError(KsegError):
    """There is a checkpoint, but the fit cannot continue from it."""


@dataclass(frozen=True, slots=True, eq=False)
class PartialHistogram:
    """The colours of the images that have been counted."""

    histogram: ColorHistogram
    """The sum of the histograms of these images."""
    images: set[bytes]
    """The digest of each of these images."""


class Checkpoint:
    """The checkpoint file of a fit.

    Attributes:
        path: The path of the checkpoint file.
    """

    def __init__(self, palette: Path, options: Mapping[str, object]) -> None:
        """Store the path and the options, without reading the file.

        Args:
            palette: The file that the palette will be written to.
            options: All options that the histogram of an image depends on.
        """
        self.path = palette.with_name(f"{palette.name}.partial")
        self._options = dict(options)

    def load(self) -> PartialHistogram | None:
        """Return the colours that an earlier fit counted; None if there is no checkpoint.

        Raises:
            StaleError: The file cannot be read, or was written with other options.
        """
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                header = json.loads(arrays["header"].tobytes())
                if header["format"] != FORMAT:
                    raise ValueError
                if header["options"] != self._options:
                    raise StaleError("it was counted with other options")
                digests = arrays["images"].tobytes()
                histogram = ColorHistogram(**{name: arrays[name] for name in ColorHistogram.__slots__})
        except FileNotFoundError:
            return None
        except UNREADABLE as error:
            raise StaleError("it is damaged, or not a checkpoint") from error
        starts = range(0, len(digests), DIGEST_BYTES)
        return PartialHistogram(histogram, {digests[start : start + DIGEST_BYTES] for start in starts})

    def save(self, progress: PartialHistogram) -> None:
        """Write a new checkpoint over the former one.

        Raises:
            OutputError: The checkpoint cannot be written. The former one is still there.
        """
        header = json.dumps({"format": FORMAT, "options": self._options}).encode()
        arrays = {name: getattr(progress.histogram, name) for name in ColorHistogram.__slots__}
        arrays["images"] = np.frombuffer(b"".join(progress.images), np.uint8)
        with replacing(self.path) as file:
            np.savez(file, header=np.frombuffer(header, np.uint8), **arrays)

    def remove(self) -> None:
        """Remove the checkpoint and its temporary file."""
        for path in (self.path, temporary_of(self.path)):
            path.unlink(missing_ok=True)
