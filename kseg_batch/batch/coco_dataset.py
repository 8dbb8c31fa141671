"""annotations.json: the COCO datasets of all images of an output folder in one, with new ids.

It is removed before an image that is in it is done again, and put together when the run ends. So it is there
only while it says what the images' own files say, whatever moment a run is killed at.
"""

from __future__ import annotations

import json
import os
import shutil
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from kseg_batch.atomic import replacing
from kseg_batch.batch.storage.outputs import kind_of, remove
from kseg_batch.batch.storage.scan import MARKER
from kseg_batch.errors import OutputError, OutputGoneError, count
from kseg_batch.images.coco import HEAD, category

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

    from kseg_batch.batch.manifest import Manifest
    from kseg_batch.batch.plan import Step

NAME = "annotations.json"

FIRST_LINE = json.dumps(HEAD)[:-1].encode() + b",\n"
"""What tells that a file of that name is ours."""


class Annotations:
    """The file, for the one run that writes to the output folder."""

    def __init__(self, out: Path, *, wanted: bool) -> None:
        """Look whether it can be written.

        Args:
            out: The output folder.
            wanted: Whether it is to be there at the end even if no image changes.

        Raises:
            OutputError: There is such a file, and somebody else wrote it.
        """
        self.path = out / NAME
        self._root = out / "coco"
        self._due = wanted
        if wanted and self.path.exists() and not self._is_ours():
            raise OutputError(
                f"{self.path} was not written by kseg-batch: move it away, or choose another -o."
            )

    def watch(self, steps: Iterator[Step]) -> Iterator[Step]:
        """The steps; before the first that puts the file out of date, it is removed."""
        for step in steps:
            written = () if step.skip else step.entry.outputs.keys() - step.kept.keys()
            if any(kind_of(name) == "coco" for name in written):
                self._due = True
                if self._is_ours():
                    remove(self.path.parent, [NAME])
            yield step

    def write(self, journal: Manifest) -> list[str]:
        """Put the file together, if it is to be there and is not.

        It has every image whose own file is whole, in the order of their paths. No list of them is kept.

        Returns:
            What one might not expect of it.

        Raises:
            OutputError: It cannot be written.
        """
        if not self._due or self.path.exists():
            return []
        if not (self._root / MARKER).exists():
            raise OutputGoneError(f"{self._root} is no longer there")
        called: dict[int, set[str]] = {}
        left_out: list[str] = []
        with replacing(self.path) as file, TemporaryFile(dir=self.path.parent) as further:
            file.write(FIRST_LINE + b'"annotations": [')
            annotations, images = _Numbered(file), _Numbered(further)
            for dataset in self._datasets(journal, left_out):
                images.add(*dataset["images"])
                for annotation in dataset["annotations"]:
                    annotations.add(annotation | {"image_id": images.last})
                for cluster, own in enumerate(dataset["categories"]):
                    called.setdefault(cluster, set()).add(own["name"])
            further.seek(0)
            file.write(b'],\n"images": [')
            shutil.copyfileobj(further, file)
            file.write(b'],\n"categories": [')
            categories = _Numbered(file)
            for cluster, names in called.items():
                categories.add(category(cluster, *names if len(names) == 1 else ()))
            file.write(b"]}\n")
        return list(self._notes(called, left_out))

    def _is_ours(self) -> bool:
        """Whether the file is there and begins as we do."""
        try:
            with self.path.open("rb") as file:
                return file.read(len(FIRST_LINE)) == FIRST_LINE
        except FileNotFoundError:
            return False
        except OSError as error:
            raise OutputError(f"{self.path} cannot be read: {error.strerror}.") from error

    def _datasets(self, journal: Manifest, left_out: list[str]) -> Iterator[dict[str, Any]]:
        """What the images' own files hold; those that are not what was written are left out."""
        for name in _files(self._root, ""):
            entry = journal.last(name.removesuffix(".json"))
            size = None if entry is None else entry.outputs.get(f"coco/{name}")
            if size is None:  # it is none of ours, or its image has yet to be done
                continue
            dataset = _read(self._root / name, size)
            if dataset is None:
                left_out.append(name)
            else:
                yield dataset

    def _notes(self, called: dict[int, set[str]], left_out: list[str]) -> Iterator[str]:
        if left_out:
            yield (
                f"{self.path} lacks {count(len(left_out), 'image')}: {self._root / left_out[0]} is not "
                "what was written; --overwrite does such images again"
            )
        for cluster, names in called.items():
            if len(names) > 1:
                yield (
                    f"{self.path}: images have different names for cluster {cluster}, which is called so: "
                    + ", ".join(sorted(names))
                )


class _Numbered:
    """The elements of a JSON list, one per line, with ids from 1 on."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.last = 0

    def add(self, element: dict[str, Any]) -> None:
        self._file.write(b",\n" if self.last else b"\n")
        self.last += 1
        self._file.write(json.dumps(element | {"id": self.last}).encode())


def _read(path: Path, size: int) -> dict[str, Any] | None:
    """An image's dataset; None if the file is not what was written, as after a power cut."""
    try:
        data = path.read_bytes()
        return json.loads(data) if len(data) == size else None
    except (OSError, ValueError):
        return None


def _files(folder: Path, below: str) -> Iterator[str]:
    """The images' files in a folder, in the order of their paths, by those below the first one."""
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.is_dir()) for entry in entries)
    for name, is_folder in found:
        if is_folder:
            yield from _files(folder / name, f"{below}{name}/")
        elif name.endswith(".json"):
            yield below + name
