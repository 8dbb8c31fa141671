"""The output files of an image: their names, and writing either all of them or none.

Each file is written under a temporary name in its own folder. When all files are complete they are renamed.
The temporary names depend on the name of the image alone, so that the next worker that processes the image
overwrites the temporary files of a worker that was killed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kseg_batch.atomic import SUFFIX
from kseg_batch.batch.storage.folding import find_fold, is_one_file
from kseg_batch.batch.storage.scan import digest
from kseg_batch.batch.storage.walk import MARKER
from kseg_batch.errors import OutputError, OutputGoneError
from kseg_batch.kmeans.cluster_names import normalize_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from kseg_batch.batch.storage.scan import Job

Save = Literal["segmented", "masks", "labels", "masked", "kept", "coco"]
"""A kind of output, and the name of its folder."""

KINDS: tuple[Save, ...] = ("segmented", "masks", "labels", "masked", "kept", "coco")

BY_SELECTION: frozenset[Save] = frozenset({"masked", "kept"})
"""The kinds that depend on which clusters are disabled."""

TEMPORARY = re.compile(rf"\.[0-9a-f]{{32}}-\d+{re.escape(SUFFIX)}")
"""Pattern of the names of incomplete files."""

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Error numbers after which the outputs of other images could not be written either."""


@dataclass(frozen=True, slots=True)
class Output:
    """A complete output file."""

    name: str
    """Path of the file below the output folder, with slashes."""
    size: int
    """Size of the file in bytes."""


def kind_of(name: str) -> str:
    """Return the kind of the output with this name."""
    return name.split("/", 1)[0]


def mask_name(job: Job, cluster: int, cluster_names: Sequence[str] = ()) -> str:
    """Return the name of a cluster's mask: with the cluster's name if there is one, else with its number."""
    cluster_name = cluster_names[cluster] if cluster_names else ""
    return f"masks/{job.name}_mask{f'_{cluster_name}' if cluster_name else cluster}.png"


def picture_name(job: Job, kind: Save) -> str:
    """Return the name of an image's output of a kind that consists of one PNG file."""
    return f"{kind}/{job.name}.png"


def dataset_name(job: Job) -> str:
    """Return the name of an image's COCO dataset."""
    return f"coco/{job.name}.json"


def output_names(
    job: Job, save: Collection[Save], k: int, cluster_names: Sequence[str] = ()
) -> Iterator[str]:
    """Yield the names of all outputs of an image.

    Args:
        job: The image.
        save: The kinds of output.
        k: The number of clusters.
        cluster_names: A name for each cluster, empty where a cluster has none; or no names at all.
    """
    for kind in sorted(save):
        if kind == "masks":
            yield from (mask_name(job, cluster, cluster_names) for cluster in range(k))
        elif kind == "coco":
            yield dataset_name(job)
        else:
            yield picture_name(job, kind)


def prepare_folders(out: Path, save: Iterable[Save], sources: Iterable[Path]) -> None:
    """Make a folder for each kind of output, with a marker file that keeps scans out of the folder.

    Args:
        out: The output folder.
        save: The kinds of output.
        sources: The files and folders that the images come from.

    Raises:
        OutputError: A folder cannot be made, holds files that kseg-batch did not write, or holds a source.
    """
    for kind in sorted(save):
        folder = out / kind
        try:
            folder.mkdir(parents=True, exist_ok=True)
            marker = folder / MARKER
            if not marker.exists():
                if any(folder.iterdir()):
                    raise OutputError(
                        f"{folder} holds files that kseg-batch did not write: choose another -o."
                    )
                marker.write_text("Written by kseg-batch; its scans do not enter this folder.\n")
        except OSError as error:
            raise OutputError(f"{folder} cannot be written: {error.strerror}.") from error
    refuse_sources_inside(out, save, sources)


def refuse_sources_inside(out: Path, save: Iterable[Save], sources: Iterable[Path]) -> None:
    """Raise an OutputError if a source lies in the folder of a kind of output."""
    fold = find_fold(out)
    for kind in sorted(save):
        folder = fold(str((out / kind).resolve()))
        for source in sources:
            if Path(fold(str(source.resolve()))).is_relative_to(folder):
                raise OutputError(f"{source} lies in the output folder {out / kind}: choose another -o.")


def write_all(out: Path, job: Job, files: Iterable[tuple[str, bytes]]) -> tuple[Output, ...]:
    """Write all output files of an image, or none, and remove the former files that they replace.

    Args:
        out: The output folder.
        job: The image.
        files: The name and the content of each file.

    Returns:
        The files written.

    Raises:
        OutputGoneError: A file cannot be written, and files of other images could not be either: the disk is
            full, or the output folder is no longer there.
        OutputError: A file cannot be written.
    """
    temporaries: list[Path] = []
    renamed: list[Path] = []
    written = []
    try:
        for i, (name, data) in enumerate(files):
            temporaries.append(_temporary(out / name, job, i))
            _write(temporaries[-1], out / name, out / kind_of(name), data)
            written.append(Output(name, len(data)))
        for temporary, output in zip(temporaries, written, strict=True):
            path = out / output.name
            with _as_output_error(path):
                temporary.replace(path)
            renamed.append(path)
    except BaseException:
        for path in (*renamed, *temporaries):
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    remove(out, _replaced(out, job, [output.name for output in written]))
    return tuple(written)


def _replaced(out: Path, job: Job, written: Collection[str]) -> Iterator[str]:
    """Yield the names of former outputs that are not among the new files.

    Where the file system ignores case, a former name may be another name of a new file.
    """
    new = {normalize_name(name): name for name in written}
    for name in job.replaces:
        same = new.get(normalize_name(name))
        if same is None or not (name == same or is_one_file(out / name, out / same)):
            yield name


def remove(out: Path, names: Iterable[str]) -> None:
    """Remove the outputs with these names. Names without a file are ignored."""
    for name in names:
        with _as_output_error(out / name):
            (out / name).unlink(missing_ok=True)


def remove_temporaries(out: Path, job: Job, save: Collection[Save]) -> None:
    """Remove the incomplete files of an image that are left from a worker that died."""
    for kind in save:
        for path in (out / kind / job.stem.parent).glob(f"{_prefix(job)}*{SUFFIX}"):
            path.unlink(missing_ok=True)


def remove_leftovers(out: Path) -> int:
    """Remove all incomplete files, which are left from a run that was killed. Return their number."""
    removed = 0
    for kind in KINDS:
        if not (out / kind / MARKER).exists():
            continue
        folders = [str(out / kind)]  # os.walk of Python 3.11 fails where folders are nested a thousand deep
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.name.endswith(SUFFIX) and TEMPORARY.fullmatch(entry.name):
                        Path(entry.path).unlink(missing_ok=True)
                        removed += 1
    return removed


def _prefix(job: Job) -> str:
    return f".{digest(job.name).hex()}-"


def _temporary(path: Path, job: Job, number: int) -> Path:
    return path.with_name(f"{_prefix(job)}{number}{SUFFIX}")


def _write(temporary: Path, path: Path, root: Path, data: bytes) -> None:
    """Write the temporary file of an output.

    Folders below the kind's folder are made when they are needed. The kind's folder itself, the root, is not
    made again if it is gone.
    """
    with _as_output_error(path):
        try:
            temporary.write_bytes(data)
        except FileNotFoundError:
            if not (root / MARKER).exists():
                raise OutputGoneError(f"{root} is no longer there") from None
            _make_folders(temporary.parent)
            temporary.write_bytes(data)


def _make_folders(folder: Path) -> None:
    """Make a folder and all that lack above it. Path.mkdir fails where a thousand of them lack."""
    lacking = []
    while not folder.exists():
        lacking.append(folder)
        folder = folder.parent
    for path in reversed(lacking):
        path.mkdir(exist_ok=True)


@contextlib.contextmanager
def _as_output_error(path: Path) -> Iterator[None]:
    """Turn an OSError into an OutputError that names the file, or into an OutputGoneError."""
    try:
        yield
    except OSError as error:
        error_type = OutputGoneError if error.errno in UNWRITABLE else OutputError
        raise error_type(f"{path} cannot be written: {error.strerror}") from error
