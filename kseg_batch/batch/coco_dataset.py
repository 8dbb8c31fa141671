"""annotations.json: the COCO datasets of all images of an output folder in one file, with new ids.

The file is removed before an image in it is processed again, and is written when the run ends. So the file
exists only while it agrees with the datasets of the single images, even if a run is killed.
"""

from __future__ import annotations

import json
import os
import shutil
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from kseg_batch.atomic import replacing
from kseg_batch.batch.storage.outputs import kind_of, remove
from kseg_batch.batch.storage.walk import MARKER
from kseg_batch.errors import OutputError, OutputGoneError, count
from kseg_batch.images.coco import HEAD, category

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

    from kseg_batch.batch.manifest import Manifest
    from kseg_batch.batch.plan import Step

ANNOTATIONS_NAME = "annotations.json"

FIRST_LINE = json.dumps(HEAD)[:-1].encode() + b",\n"
"""First line of a file that was written by kseg-batch."""


class Annotations:
    """The file annotations.json, for the one run that writes to the output folder."""

    def __init__(self, out: Path, *, wanted: bool) -> None:
        """Check that the file may be written.

        Args:
            out: The output folder.
            wanted: Whether the file is to be written at the end even if no image changes.

        Raises:
            OutputError: There is a file of this name that kseg-batch did not write.
        """
        self.path = out / ANNOTATIONS_NAME
        self._folder = out / "coco"
        self._wanted = wanted
        if wanted and self.path.exists() and not self._written_by_kseg_batch():
            raise OutputError(
                f"{self.path} was not written by kseg-batch: move it away, or choose another -o."
            )

    def invalidate(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Yield the steps, and remove the file before the first step that writes a dataset."""
        for step in steps:
            written = () if step.skip else step.entry.outputs.keys() - step.kept.keys()
            if any(kind_of(name) == "coco" for name in written):
                self._wanted = True
                if self._written_by_kseg_batch():
                    remove(self.path.parent, [ANNOTATIONS_NAME])
            yield step

    def write(self, journal: Manifest) -> list[str]:
        """Write the file, if it is wanted and does not exist.

        The file has every image whose own dataset is complete, in the order of their paths. The datasets are
        copied one by one, so that memory does not grow with their number.

        Args:
            journal: The journal of the run.

        Returns:
            Messages about images that were left out, and about clusters with several names.

        Raises:
            OutputError: The file cannot be written.
        """
        if not self._wanted or self.path.exists():
            return []
        if not (self._folder / MARKER).exists():
            raise OutputGoneError(f"{self._folder} is no longer there")
        cluster_names: dict[int, set[str]] = {}
        left_out: list[str] = []
        with replacing(self.path) as file, TemporaryFile(dir=self.path.parent) as image_list:
            file.write(FIRST_LINE + b'"annotations": [')
            annotations, images = _NumberedList(file), _NumberedList(image_list)
            for dataset in self._datasets(journal, left_out):
                images.add(*dataset["images"])
                for annotation in dataset["annotations"]:
                    annotations.add(annotation | {"image_id": images.last})
                for cluster, its_category in enumerate(dataset["categories"]):
                    cluster_names.setdefault(cluster, set()).add(its_category["name"])
            image_list.seek(0)
            file.write(b'],\n"images": [')
            shutil.copyfileobj(image_list, file)
            file.write(b'],\n"categories": [')
            categories = _NumberedList(file)
            for cluster, names in cluster_names.items():
                categories.add(category(cluster, *names if len(names) == 1 else ()))
            file.write(b"]}\n")
        return list(self._messages(cluster_names, left_out))

    def _written_by_kseg_batch(self) -> bool:
        """Return whether the file exists and begins with the first line that kseg-batch writes."""
        try:
            with self.path.open("rb") as file:
                return file.read(len(FIRST_LINE)) == FIRST_LINE
        except FileNotFoundError:
            return False
        except OSError as error:
            raise OutputError(f"{self.path} cannot be read: {error.strerror}.") from error

    def _datasets(self, journal: Manifest, left_out: list[str]) -> Iterator[dict[str, Any]]:
        """Yield the dataset of each image. Add the names of damaged files to `left_out`."""
        for name in _find_datasets(self._folder):
            entry = journal.last(name.removesuffix(".json"))
            outputs = (
                {} if entry is None else {journal.fold(key): size for key, size in entry.outputs.items()}
            )
            size = outputs.get(journal.fold(f"coco/{name}"))
            if size is None:  # not written by kseg-batch, or its image has yet to be processed
                continue
            dataset = _read(self._folder / name, size)
            if dataset is None:
                left_out.append(name)
            else:
                yield dataset

    def _messages(self, cluster_names: dict[int, set[str]], left_out: list[str]) -> Iterator[str]:
        if left_out:
            yield (
                f"{self.path} lacks {count(len(left_out), 'image')}: {self._folder / left_out[0]} is not "
                "the file that was written; --overwrite processes such images again"
            )
        for cluster, names in cluster_names.items():
            if len(names) > 1:
                yield (
                    f"{self.path}: images have different names for cluster {cluster}: "
                    + ", ".join(sorted(names))
                )


class _NumberedList:
    """The elements of a JSON list, written one per line, with ids from 1 on.

    Attributes:
        last: The id of the last element; 0 if there is none.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.last = 0

    def add(self, element: dict[str, Any]) -> None:
        self._file.write(b",\n" if self.last else b"\n")
        self.last += 1
        self._file.write(json.dumps(element | {"id": self.last}).encode())


def _read(path: Path, size: int) -> dict[str, Any] | None:
    """Return an image's dataset; None if the file is damaged, as after a power cut.

    Args:
        path: The file of the dataset.
        size: The size of the file in bytes when it was written.
    """
    try:
        data = path.read_bytes()
        return json.loads(data) if len(data) == size else None
    except (OSError, ValueError):
        return None


def _find_datasets(folder: Path) -> Iterator[str]:
    """Yield the path of each dataset below a folder, in the order of the paths."""
    levels = [_list(folder, "")]
    while levels:
        for relative, is_folder in levels[-1]:
            if is_folder:
                levels.append(_list(folder, f"{relative}/"))
                break
            if relative.endswith(".json"):
                yield relative
        else:
            levels.pop()


def _list(folder: Path, prefix: str) -> Iterator[tuple[str, bool]]:
    """Return the paths of the entries of folder / prefix below the folder, and which are folders."""
    with os.scandir(folder / prefix) as entries:
        return iter(sorted((prefix + entry.name, entry.is_dir()) for entry in entries))
