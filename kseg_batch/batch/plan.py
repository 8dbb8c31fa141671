"""The plan of a run: which images are processed, which are skipped, and why."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kseg_batch.batch.manifest import Entry
from kseg_batch.batch.storage.folding import is_one_file
from kseg_batch.batch.storage.outputs import BY_SELECTION, kind_of, output_names
from kseg_batch.batch.storage.source import absolute, describe_change
from kseg_batch.errors import SourceError
from kseg_batch.kmeans.reference import ALGORITHM

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kseg_batch.batch.manifest import Manifest
    from kseg_batch.batch.storage.scan import Job
    from kseg_batch.batch.workers.jobs import Outcome, Settings

Redo = Literal["changed", "failed", "all"]
"""Which images are processed: those that changed or are not done, only those that failed, or all."""


@dataclass(frozen=True, slots=True)
class Step:
    """The plan for one image."""

    job: Job
    skip: bool
    """Whether the image is skipped."""
    reason: str
    """Why the image is processed, or skipped."""
    entry: Entry
    """The entry that the journal gets when the image is begun; the last entry if the image is skipped."""
    former: Mapping[str, int | None]
    """The outputs of earlier runs, with their sizes in bytes."""
    kept: Mapping[str, int | None]
    """The former outputs that stay, because their kinds are not written this time."""

    def finished(self, outcome: Outcome, settings: Settings) -> Entry:
        """Return the entry of the image when it is done or has failed. A failed image keeps its outputs."""
        if outcome.error is not None:
            return replace(self.entry, status="failed", error=outcome.error, outputs=self.former)
        entry = self.entry
        if settings.save & BY_SELECTION:
            entry = replace(entry, selection=str(settings.selection), disabled=outcome.disabled)
        return replace(
            entry,
            status="done",
            version=outcome.version,
            outputs={**self.kept, **{output.name: output.size for output in outcome.outputs}},
        )


class Planner:
    """Plans the steps of a run, by comparing the images with the journal."""

    def __init__(
        self, manifest: Manifest, settings: Settings, *, exact: bool, redo: Redo = "changed"
    ) -> None:
        """Compute the fingerprint of the settings.

        Args:
            manifest: The journal.
            settings: What to do with every image.
            exact: Whether the backend is exact, so that its outputs have the same bytes on every machine.
            redo: Which images are processed again.
        """
        self._manifest = manifest
        self._settings = settings
        self._redo = redo
        self._fingerprint = fingerprint(settings, exact=exact)

    def steps(self, jobs: Iterable[Job]) -> Iterator[Step]:
        """Yield the step of each image.

        Raises:
            SourceError: An image's outputs would replace the outputs of another image that still exists.
        """
        for job in jobs:
            source = absolute(job.source)
            last = self._manifest.last(job.name)
            if last is not None and last.source != source:
                self._refuse_collision(job, last)
            reason = self._reason(job, last)
            if last is not None and reason is None:
                skipped = "done" if last.status == "done" else f"{last.status}, and only failed ones are done"
                yield Step(job, True, skipped, last, last.outputs, {})
            elif last is None and self._redo == "failed":
                begun = self._begun(job, source)
                yield Step(job, True, "new, and only failed ones are done", begun, {}, {})
            else:
                yield self._step(job, source, last, reason or "new")

    def _step(self, job: Job, source: str, last: Entry | None, reason: str) -> Step:
        former: Mapping[str, int | None] = {} if last is None else last.outputs
        kept: Mapping[str, int | None] = {}
        begun = self._begun(job, source)
        if last is not None and last.fingerprint == self._fingerprint and not self._changed(job, last):
            replaced = self._settings.save
            if self._selection_changed(last):
                replaced |= BY_SELECTION  # outputs of both kinds must show the same clusters
            else:
                begun = replace(begun, selection=last.selection, disabled=last.disabled)
            kept = {name: size for name, size in former.items() if kind_of(name) not in replaced}
        job = replace(job, replaces=tuple(name for name in former if name not in kept))
        palette = self._settings.palette
        cluster_names = () if palette is None else palette.names
        possible = dict.fromkeys(output_names(job, self._settings.save, self._settings.fit.k, cluster_names))
        begun = replace(begun, outputs={**former, **possible})
        return Step(job, False, reason, begun, former, kept)

    def _begun(self, job: Job, source: str) -> Entry:
        return Entry(job.name, source, "started", None, None, self._fingerprint, "", (), {})

    def _reason(self, job: Job, last: Entry | None) -> str | None:
        """Return why an image is processed; None if it is skipped, or is new."""
        if last is None:
            return None
        if self._redo == "all":
            return "--overwrite"
        if last.status == "failed":
            return "it failed before"
        if self._redo == "failed":
            return None
        if last.status == "started":
            return "it was interrupted"
        if last.fingerprint != self._fingerprint:
            return "the options changed"
        return self._changed(job, last) or self._missing(last)

    def _changed(self, job: Job, last: Entry) -> str | None:
        """Return how the image file differs from its last version; None if it does not."""
        if last.version is None:
            return "it was not done"
        return describe_change(job.source, last.version, checksum=self._settings.checksum)

    def _missing(self, last: Entry) -> str | None:
        """Return which output is missing, outdated or damaged; None if all are as they were written."""
        out, settings = self._manifest.path.parent, self._settings
        if absent := settings.save - {kind_of(name) for name in last.outputs}:
            return f"--save {min(absent)} is new"
        if self._selection_changed(last):
            return f"it was done with {last.selection or 'all clusters'}"
        for name, size in last.outputs.items():
            if kind_of(name) in settings.save and _size(out / name) != size:
                return f"{name} is gone or is not what was written"
        return None

    def _selection_changed(self, last: Entry) -> bool:
        """Return whether the clusters that `masked` and `kept` show are chosen by other flags than before."""
        return bool(self._settings.save & BY_SELECTION) and last.selection != str(self._settings.selection)

    def _refuse_collision(self, job: Job, last: Entry) -> None:
        """Raise a SourceError if the outputs belong to another image file that still exists.

        A file that is gone may have been moved to the path of this job.
        """
        if (
            os.path.exists(last.source)  # noqa: PTH110
            and not os.path.samefile(last.source, job.source)  # noqa: PTH121
            and not is_one_file(Path(last.source), job.source)
        ):
            raise SourceError(
                f"{self._manifest.path.parent} holds the outputs of {last.source}, which those of "
                f"{job.source} would replace: choose another -o."
            )


def fingerprint(settings: Settings, *, exact: bool) -> str:
    """Return 16 hexadecimal digits that differ if the outputs of two settings may have different pixels.

    The selection of clusters is left out, because the entry of an image has it.

    Args:
        settings: What to do with every image.
        exact: Whether the backend is exact, so that its outputs have the same bytes on every machine.
    """
    content: dict[str, object] = {
        "algorithm": ALGORITHM,
        "alpha": settings.alpha,
        "profile": settings.profile,
        **asdict(settings.regions),
    }
    if (palette := settings.palette) is not None:  # every backend is exact with a palette
        content |= {
            "centers": palette.fixed_centers.tolist(),
            "color_space": palette.color_space,
            "mean_colors": None if palette.mean_colors is None else palette.mean_colors.tolist(),
            "names": palette.names,
        }
    else:
        content |= {"arithmetic": "exact" if exact else "opencv", **asdict(settings.fit)}
        if settings.k_range is not None:
            content["k_range"] = asdict(settings.k_range)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _size(path: Path) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - called for every output of every image
    except OSError:
        return None
