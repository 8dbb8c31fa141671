"""The scan for source images: which files are images, and the names of their outputs.

No image is opened here, and nothing is written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from kseg_batch.batch.storage.folding import unchanged
from kseg_batch.batch.storage.passed_over import OtherFiles, PassedOverPaths
from kseg_batch.batch.storage.source import absolute
from kseg_batch.batch.storage.walk import FileSelection, walk
from kseg_batch.errors import SourceError
from kseg_batch.images.extensions import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kseg_batch.batch.storage.folding import Fold

MAX_SHOWN = 10
"""Most collisions that an error lists."""


def digest(text: str) -> bytes:
    """Return 16 bytes that stand for a path, to save memory where a million paths are remembered."""
    return blake2b(os.fsencode(text), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Job:
    """An image to segment, or to count the colours of."""

    source: Path
    """The image file."""
    stem: Path
    """Path of the outputs below the folder of each kind of output, without an extension."""
    replaces: tuple[str, ...] = ()
    """Names of outputs of an earlier run, which are removed when the new outputs are written."""

    @property
    def name(self) -> str:
        """The stem with slashes: the name of the image in the journal, unique in an output folder."""
        return self.stem.as_posix()

    @property
    def path_below_source(self) -> str:
        """The path of the image file below its source folder, with the extension."""
        return self.stem.with_name(self.source.name).as_posix()


def default_output(sources: Sequence[Path], suffix: str) -> Path:
    """Return the default output path: the only source, with a suffix appended to its name.

    Raises:
        SourceError: There are several sources, or the source is a root folder and has no name. If one of
            several sources is missing, the error names the source.
    """
    source = Path(absolute(sources[0]))
    if len(sources) > 1 or not source.name:
        for path in sources:
            if not os.path.exists(path):  # noqa: PTH110 - False, too, for a name that no file can have
                raise _missing(path)
        raise SourceError("Several sources, or the root of a disk, need -o OUT, which says where to write.")
    return source.with_name(source.name + suffix)


def _missing(source: Path) -> SourceError:
    """Return the error for a source that does not exist."""
    return SourceError(f"{source}: there is no such file or folder.")


class Scan:
    """The images in files and folders, searched in two passes: one counts and checks, one yields the jobs.

    The first pass makes sure that no two images have the same outputs before any image is processed. Between
    the passes no list of images is kept, only 16 bytes per image. Outputs mirror the tree of a source folder;
    with several sources, the tree of each folder lies under the folder's name. Links to folders are not
    followed.

    Attributes:
        total: The number of images.
        passed_over: The files and folders that were passed over.
    """

    def __init__(
        self,
        sources: Sequence[Path],
        *,
        full_names: bool = False,
        outputs: bool = True,
        selection: FileSelection | None = None,
        fold: Fold = unchanged,
    ) -> None:
        """Make the first pass.

        Args:
            sources: Files, which are images whatever their name, and folders, which are searched for images.
            full_names: Whether output names keep the extension, so that a.jpg and a.png do not collide.
            outputs: Whether images have outputs. If not, none can collide, and stems are absolute paths.
            selection: Which files of the folders are images.
            fold: How the file system of the outputs folds names.

        Raises:
            SourceError: A source is missing, there are no images, or two images would have the same outputs.
        """
        self._sources = sources
        self._full_names = full_names
        self._outputs = outputs
        self._selection = selection or FileSelection()
        self._fold = fold
        self.passed_over = self._no_paths()
        self._stems: set[bytes] = set()
        duplicates: set[str] = set()
        for source, relative in self._find(self.passed_over):
            stem = fold(self._stem(source, relative))
            key = digest(stem)
            if key in self._stems:
                duplicates.add(stem)
            self._stems.add(key)
        self.total = len(self._stems)
        if duplicates:
            self._raise_collisions(duplicates)
        if not self.total and not self.passed_over.unreadable:
            self._raise_no_images()

    def jobs(self) -> Iterator[Job]:
        """Yield the images in the order of their paths; to be called once.

        Images that the first pass did not find are left out.
        """
        for source, relative in self._find(self._no_paths()):
            stem = self._stem(source, relative)
            key = digest(self._fold(stem))
            if key in self._stems:
                self._stems.remove(key)
                yield Job(Path(source), Path(stem))
            else:
                self.passed_over.late += 1

    def paths(self) -> Iterator[Path]:
        """Yield the image files, in a pass of its own that leaves the jobs of `jobs` as they are."""
        for source, _ in self._find(self._no_paths()):
            yield Path(source)

    def _no_paths(self) -> PassedOverPaths:
        return PassedOverPaths(OtherFiles(propose=not self._selection.include))

    def _stem(self, source: str, relative: str) -> str:
        if not self._outputs:
            return absolute(source)
        return relative if self._full_names else os.path.splitext(relative)[0]  # noqa: PTH122

    def _find(self, passed_over: PassedOverPaths) -> Iterator[tuple[str, str]]:
        """Yield each image's path, and its path below the folder of a kind of output, with the extension."""
        known: set[bytes] = set()
        for source, relative in self._find_all(passed_over):
            if len(self._sources) > 1:
                key = digest(os.path.realpath(source))
                if key in known:
                    passed_over.repeats += 1
                    continue
                known.add(key)
            yield source, relative

    def _find_all(self, passed_over: PassedOverPaths) -> Iterator[tuple[str, str]]:
        """Yield the same as `_find`, but a file of several sources several times."""
        for source in self._sources:
            try:
                if source.is_dir():
                    name = Path(absolute(source)).name
                    prefix = f"{name}/" if len(self._sources) > 1 else ""
                    for path, relative in walk(str(source), self._selection, passed_over):
                        yield path, prefix + relative
                elif source.exists():
                    yield str(source), source.name
                else:
                    raise _missing(source)
            except OSError as error:
                raise SourceError(f"{source} cannot be read: {error.strerror}.") from error

    def _raise_collisions(self, duplicates: set[str]) -> NoReturn:
        """Raise a SourceError that names the images with the same outputs.

        Args:
            duplicates: The folded stems that several images have.
        """
        groups: dict[str, list[Path]] = {stem: [] for stem in duplicates}
        for source, relative in self._find(self._no_paths()):
            if (stem := self._fold(self._stem(source, relative))) in groups:
                groups[stem].append(Path(source))
        collisions = [group for group in groups.values() if len(group) > 1]
        lines = [f"  {_join(group)}" for group in sorted(collisions)[:MAX_SHOWN]]
        if len(collisions) > MAX_SHOWN:
            lines.append(f"  and {len(collisions) - MAX_SHOWN} more")
        if all(len({self._fold(source.name) for source in group}) == len(group) for group in collisions):
            remedy = "--full-names keeps the extension in output names and so tells them apart"
        else:
            remedy = "segment them in separate runs, each with its own -o OUT"
        raise SourceError(f"These sources would have the same outputs; {remedy}:", lines)

    def _raise_no_images(self) -> NoReturn:
        """Raise a SourceError that says which names an image has, and what was passed over."""
        passed_over = "".join(f"; {line}" for line in self.passed_over.as_lines())
        globs = self._selection.include
        condition = f"match {' '.join(globs)}" if globs else f"end in {' '.join(sorted(EXTENSIONS))}"
        raise SourceError(
            f"{_join(self._sources)}: no images there, that is, files that {condition}{passed_over}."
        )


def _join(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)
