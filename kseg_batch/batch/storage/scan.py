"""Which files are in, and where each one's outputs go. Nothing is opened or written here."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from kseg_batch.errors import SourceError, count
from kseg_batch.images.decode import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MARKER = ".kseg-batch"
"""A file of this name in a folder says that kseg-batch wrote all in it, so that no scan enters it."""

SHOWN = 10
"""Most collisions listed in an error."""


def digest(text: str) -> bytes:
    """16 bytes that stand for a path where a million of them have to be remembered."""
    return blake2b(os.fsencode(text), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Job:
    """One image to do."""

    source: Path
    """The file to read."""
    stem: Path
    """Where its outputs go below each output kind's folder, without an extension."""
    replaces: tuple[str, ...] = ()
    """Outputs of an earlier run, relative to the output folder, that go when the new ones are written."""

    @property
    def name(self) -> str:
        """The stem as the journal has it, unique in an output folder."""
        return self.stem.as_posix()

    @property
    def path_below_source(self) -> str:
        """The path of the file below its source, with its extension."""
        return self.stem.with_name(self.source.name).as_posix()


@dataclass(frozen=True, slots=True)
class FileSelection:
    """Which files of a folder are images."""

    include: tuple[str, ...] = ()
    """Globs of the files to take; by their extension if there is none."""
    exclude: tuple[str, ...] = ()
    """Globs of files to leave out, and of folders not to enter."""

    def takes(self, relative: str, name: str) -> bool:
        """Whether a file that is not excluded is to be taken."""
        if self.include:
            return _matches(self.include, relative, name)
        return os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122 - a Path costs ten times as much

    def leaves_out(self, relative: str, name: str) -> bool:
        """Whether a file or folder is excluded."""
        return bool(self.exclude) and _matches(self.exclude, relative, name)


def _matches(globs: Sequence[str], relative: str, name: str) -> bool:
    """Whether a glob with a slash matches the path below the source, or one without the name."""
    return any(fnmatchcase(relative if "/" in glob else name, glob.rstrip("/")) for glob in globs)


@dataclass(slots=True)
class PassedOver:
    """What a search left aside."""

    other_files: int = 0
    """Files without an image's extension, or that match no glob to include."""
    excluded: int = 0
    """Files and folders that match a glob to exclude."""
    links: int = 0
    """Links to folders, which are not followed."""
    repeats: int = 0
    """Files that another source has too, by whatever path."""
    late: int = 0
    """Images that appeared while the run was on."""
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    """Folders that could not be searched, or entries of them, and why."""
    output_folders: list[Path] = field(default_factory=list)
    """Folders that hold the outputs of a run and were not entered."""

    def texts(self) -> list[str]:
        """All of it in words."""
        texts = []
        if self.other_files:
            texts.append(f"{count(self.other_files, 'file')} passed over, not images by name")
        if self.excluded:
            texts.append(f"{self.excluded:,} passed over by --exclude")
        if self.links:
            texts.append(f"{count(self.links, 'link')} to folders not followed")
        if self.repeats:
            texts.append(f"{count(self.repeats, 'file')} named twice, done once")
        if self.late:
            texts.append(f"{count(self.late, 'image')} appeared during the run, left for the next one")
        if self.unreadable:
            texts.append(f"{count(len(self.unreadable), 'folder')} could not be read")
        texts += [f"{folder} passed over: it holds outputs of kseg-batch" for folder in self.output_folders]
        return texts


def beside(sources: Sequence[Path], suffix: str) -> Path:
    """The source's name with a suffix appended, beside it.

    Raises:
        SourceError: There is no such place, because there are several sources or the source is a root.
    """
    source = Path(os.path.abspath(sources[0]))  # noqa: PTH100 - resolve() would follow links
    if len(sources) > 1 or not source.name:
        raise SourceError("With several sources, or the root of a disk, say where to write: -o OUT.")
    return source.with_name(source.name + suffix)


class Scan:
    """The images in files and folders, found twice: once to count and check them, and again one by one.

    So nothing is done before it is known that no two images have the same outputs, and yet no list of
    images is kept: 16 bytes of each are. A folder's tree is mirrored; with several sources, each folder's
    under its own name. Links to folders are not followed.

    Attributes:
        total: How many images there are.
        passed_over: What was left aside.
    """

    def __init__(
        self,
        sources: Sequence[Path],
        *,
        full_names: bool = False,
        outputs: bool = True,
        selection: FileSelection | None = None,
    ) -> None:
        """Search once.

        Args:
            sources: Files, taken whatever their name, and folders, searched for images.
            full_names: Keep the extension in output names, so that a.jpg and a.png do not collide.
            outputs: Whether images have outputs at all. If not, none collide, and stems are whole paths.
            selection: Which files of the folders are images.

        Raises:
            SourceError: A source is missing, there are no images, or two would have the same outputs.
        """
        self.passed_over = PassedOver()
        self._sources = sources
        self._full_names = full_names
        self._outputs = outputs
        self._selection = selection or FileSelection()
        self._stems: set[bytes] = set()
        twice: set[str] = set()
        for source, relative in self._find(self.passed_over):
            stem = self._stem(source, relative)
            key = digest(stem)
            if key in self._stems:
                twice.add(stem)
            self._stems.add(key)
        self.total = len(self._stems)
        if twice:
            self._refuse(twice)
        if not self.total and not self.passed_over.unreadable:
            self._refuse_nothing()

    def jobs(self) -> Iterator[Job]:
        """The images, in the order of their paths, once. One that was not there at first is left out."""
        for source, relative in self._find(PassedOver()):
            stem = self._stem(source, relative)
            key = digest(stem)
            if key in self._stems:
                self._stems.remove(key)
                yield Job(Path(source), Path(stem))
            else:
                self.passed_over.late += 1

    def paths(self) -> Iterator[Path]:
        """The images' files, looked for once more; `jobs` has them all the same."""
        for source, _ in self._find(PassedOver()):
            yield Path(source)

    def _stem(self, source: str, relative: str) -> str:
        if not self._outputs:
            return os.path.abspath(source)  # noqa: PTH100 - resolve() would follow links
        return relative if self._full_names else os.path.splitext(relative)[0]  # noqa: PTH122

    def _find(self, passed_over: PassedOver) -> Iterator[tuple[str, str]]:
        """Every image's path, and its path below the output kinds' folders, with its extension."""
        known: set[bytes] = set()
        for source, relative in self._find_all(passed_over):
            if len(self._sources) > 1:
                key = digest(os.path.realpath(source))
                if key in known:
                    passed_over.repeats += 1
                    continue
                known.add(key)
            yield source, relative

    def _find_all(self, passed_over: PassedOver) -> Iterator[tuple[str, str]]:
        for source in self._sources:
            try:
                if source.is_dir():
                    name = os.path.basename(os.path.abspath(source))  # noqa: PTH100, PTH119
                    prefix = f"{name}/" if len(self._sources) > 1 else ""
                    for path, relative in self._walk(str(source), "", passed_over):
                        yield path, prefix + relative
                elif source.exists():
                    yield str(source), source.name
                else:
                    raise SourceError(f"{source}: there is no such file or folder.")
            except OSError as error:
                raise SourceError(f"{source} cannot be read: {error.strerror}.") from error

    def _walk(self, folder: str, below: str, passed_over: PassedOver) -> Iterator[tuple[str, str]]:
        """The images in a folder, in the order of their paths, and their paths below the source."""
        try:
            with os.scandir(folder) as entries:
                listing = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            passed_over.unreadable.append((Path(folder), error.strerror or str(error)))
            return
        for entry in listing:
            relative = below + entry.name
            try:
                if self._selection.leaves_out(relative, entry.name):
                    passed_over.excluded += 1
                elif not entry.is_dir():
                    if self._selection.takes(relative, entry.name):
                        yield entry.path, relative
                    else:
                        passed_over.other_files += 1
                elif entry.is_symlink():
                    passed_over.links += 1
                elif Path(entry.path, MARKER).exists():
                    passed_over.output_folders.append(Path(entry.path))
                else:
                    yield from self._walk(entry.path, f"{relative}/", passed_over)
            except OSError as error:
                passed_over.unreadable.append((Path(entry.path), error.strerror or str(error)))

    def _refuse(self, twice: set[str]) -> None:
        """Name the sources that share an output."""
        groups: dict[str, list[Path]] = {stem: [] for stem in twice}
        for source, relative in self._find(PassedOver()):
            if (stem := self._stem(source, relative)) in groups:
                groups[stem].append(Path(source))
        collisions = [group for group in groups.values() if len(group) > 1]
        lines = [f"  {_listed(group)}" for group in sorted(collisions)[:SHOWN]]
        if len(collisions) > SHOWN:
            lines.append(f"  and {len(collisions) - SHOWN} more")
        if all(len({source.name for source in group}) == len(group) for group in collisions):
            remedy = "--full-names keeps the extension in output names and so tells them apart"
        else:
            remedy = "segment them in runs of their own, each with its own -o OUT"
        raise SourceError(f"These sources would have the same outputs; {remedy}:\n" + "\n".join(lines))

    def _refuse_nothing(self) -> None:
        passed = "".join(f"; {text}" for text in self.passed_over.texts())
        globs = self._selection.include
        wanted = f"match {' '.join(globs)}" if globs else f"end in {' '.join(sorted(EXTENSIONS))}"
        raise SourceError(f"{_listed(self._sources)}: no images there, that is, files that {wanted}{passed}.")


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)
