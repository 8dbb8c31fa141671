"""What a dataset fit has counted so far, in a file beside its palette, for the fit that comes after it."""

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
"""What NumPy raises on a file that is torn, damaged, or none of ours."""


class StaleError(KsegError):
    """A checkpoint is there and cannot be gone on from."""


@dataclass(frozen=True, slots=True, eq=False)
class PartialHistogram:
    """What has been counted."""

    histogram: ColorHistogram
    """The sum of all images' colours."""
    images: set[bytes]
    """The digest of each image in it."""


class Checkpoint:
    """The file beside a palette that is being fitted.

    Attributes:
        path: Where it is.
    """

    def __init__(self, palette: Path, options: Mapping[str, object]) -> None:
        """Look at nothing yet.

        Args:
            palette: The file that the palette will be in.
            options: All that the histogram of an image depends on.
        """
        self.path = palette.with_name(f"{palette.name}.partial")
        self._options = dict(options)

    def load(self) -> PartialHistogram | None:
        """What an earlier fit had counted; None if there was none.

        Raises:
            StaleError: It cannot be read, or was counted with other options.
        """
        try:
            with self.path.open("rb") as whole, np.load(whole, allow_pickle=False) as file:
                header = json.loads(file["header"].tobytes())
                if header["format"] != FORMAT:
                    raise ValueError
                if header["options"] != self._options:
                    raise StaleError("it was counted with other options")
                digests = file["images"].tobytes()
                histogram = ColorHistogram(**{name: file[name] for name in ColorHistogram.__slots__})
        except FileNotFoundError:
            return None
        except UNREADABLE as error:
            raise StaleError("it is damaged, or no such file") from error
        starts = range(0, len(digests), DIGEST_BYTES)
        return PartialHistogram(histogram, {digests[start : start + DIGEST_BYTES] for start in starts})

    def save(self, progress: PartialHistogram) -> None:
        """Replace it.

        Raises:
            OutputError: It cannot be written. The one before is still there.
        """
        header = json.dumps({"format": FORMAT, "options": self._options}).encode()
        arrays = {name: getattr(progress.histogram, name) for name in ColorHistogram.__slots__}
        arrays["images"] = np.frombuffer(b"".join(progress.images), np.uint8)
        with replacing(self.path) as file:
            np.savez(file, header=np.frombuffer(header, np.uint8), **arrays)

    def remove(self) -> None:
        """Leave nothing behind."""
        for path in (self.path, temporary_of(self.path)):
            path.unlink(missing_ok=True)
