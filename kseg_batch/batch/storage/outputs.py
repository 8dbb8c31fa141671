"""The files written for an image: their names, and how all of them are written or none.

Each is written to a temporary name in its own folder. When all are complete they are renamed. The temporary
names follow from the image's, so that whoever does an image again writes over what a killed worker left.
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
from kseg_batch.batch.storage.scan import MARKER, digest
from kseg_batch.errors import OutputError, OutputGoneError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from kseg_batch.batch.storage.scan import Job

Save = Literal["segmented", "masks", "labels", "masked", "kept", "coco"]
"""A kind of output, and the name of its folder."""

KINDS: tuple[Save, ...] = ("segmented", "masks", "labels", "masked", "kept", "coco")

BY_SELECTION: frozenset[Save] = frozenset({"masked", "kept"})
"""The kinds that show what is left when clusters are disabled."""

TEMPORARY = re.compile(rf"\.[0-9a-f]{{32}}-\d+{re.escape(SUFFIX)}")
"""The names of files that are not complete."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors after which no other image could be written either."""


@dataclass(frozen=True, slots=True)
class Output:
    """A complete file."""

    name: str
    """Its path below the output folder, with slashes."""
    size: int
    """Bytes."""


def kind_of(name: str) -> str:
    """The kind of output that a name is of."""
    return name.split("/", 1)[0]


def mask_name(job: Job, cluster: int, cluster_names: Sequence[str] = ()) -> str:
    """The name of a cluster's mask: with the cluster's own if it has one, with its number if not."""
    called = cluster_names[cluster] if cluster_names else ""
    return f"masks/{job.name}_mask{f'_{called}' if called else cluster}.png"


def picture_name(job: Job, kind: Save) -> str:
    """The name of an output that there is one of."""
    return f"{kind}/{job.name}.png"


def dataset_name(job: Job) -> str:
    """The name of an image's COCO dataset."""
    return f"coco/{job.name}.json"


def names(job: Job, save: Collection[Save], k: int, cluster_names: Sequence[str] = ()) -> Iterator[str]:
    """The names of all outputs of an image with k clusters, some of which may have names."""
    for kind in sorted(save):
        if kind == "masks":
            yield from (mask_name(job, cluster, cluster_names) for cluster in range(k))
        elif kind == "coco":
            yield dataset_name(job)
        else:
            yield picture_name(job, kind)


def prepare(out: Path, save: Iterable[Save], sources: Iterable[Path]) -> None:
    """Make a folder for each kind of output, and mark it as one that scans do not enter.

    Raises:
        OutputError: One cannot be made, holds files of somebody else, or holds a source.
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
    """Raise an OutputError if a source lies where outputs go."""
    for kind in sorted(save):
        place = (out / kind).resolve()
        for source in sources:
            if source.resolve().is_relative_to(place):
                raise OutputError(f"{source} lies in the output folder {out / kind}: choose another -o.")


def write_all(out: Path, job: Job, files: Iterable[tuple[str, bytes]]) -> tuple[Output, ...]:
    """Write all files of an image, or none, and remove those that they replace.

    Args:
        out: The output folder.
        job: The image.
        files: Names, and what is to be in the files.

    Raises:
        OutputGoneError: One cannot be written, and nor could any other: the disk is full, or the folder is
            no longer there.
        OutputError: One cannot be written.
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
            with _explained(path):
                temporary.replace(path)
            renamed.append(path)
    except BaseException:
        for path in (*renamed, *temporaries):
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    remove(out, set(job.replaces) - {output.name for output in written})
    return tuple(written)


def remove(out: Path, names: Iterable[str]) -> None:
    """Remove outputs, where they are."""
    for name in names:
        with _explained(out / name):
            (out / name).unlink(missing_ok=True)


def remove_temporaries(out: Path, job: Job, save: Collection[Save]) -> None:
    """Remove the incomplete files that a worker left of an image when it died."""
    for kind in save:
        for path in (out / kind / job.stem.parent).glob(f"{_prefix(job)}*{SUFFIX}"):
            path.unlink(missing_ok=True)


def sweep(out: Path) -> int:
    """Remove the incomplete files that a run left when it was killed; return how many there were."""
    removed = 0
    for kind in KINDS:
        if not (out / kind / MARKER).exists():
            continue
        for folder, _, files in os.walk(out / kind):
            for name in files:
                if name.endswith(SUFFIX) and TEMPORARY.fullmatch(name):
                    Path(folder, name).unlink(missing_ok=True)
                    removed += 1
    return removed


def _prefix(job: Job) -> str:
    return f".{digest(job.name).hex()}-"


def _temporary(path: Path, job: Job, number: int) -> Path:
    return path.with_name(f"{_prefix(job)}{number}{SUFFIX}")


def _write(temporary: Path, path: Path, root: Path, data: bytes) -> None:
    """Write what is to become a file below one of our folders, which is not made anew if it is gone."""
    with _explained(path):
        try:
            temporary.write_bytes(data)
        except FileNotFoundError:
            if not (root / MARKER).exists():
                raise OutputGoneError(f"{root} is no longer there") from None
            temporary.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say what could not be written, and whether anything else could."""
    try:
        yield
    except OSError as error:
        kind = OutputGoneError if error.errno in NO_ROOM else OutputError
        raise kind(f"{path} cannot be written: {error.strerror}") from error
