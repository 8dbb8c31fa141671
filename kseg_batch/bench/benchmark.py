"""The benchmark: each implementation at each size and number of clusters, checked, then timed."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kseg_batch.bench.checks import ReferenceCheck, ResultChecker
from kseg_batch.bench.implementations import BACKENDS, find_unavailable_backends
from kseg_batch.bench.libraries import LIBRARIES
from kseg_batch.bench.photos import PhotoSet
from kseg_batch.bench.results import BenchResults, Metrics, PhotoInfo, ResultRow
from kseg_batch.bench.runner import Runner
from kseg_batch.errors import BackendError, BackendUnavailableError
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.processes import interrupts_blocked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kseg_batch.bench.implementations import Implementation
    from kseg_batch.bench.options import BenchOptions, Size
    from kseg_batch.bench.photos import BenchPhoto
    from kseg_batch.bench.runner import PassResult

STOP_FACTOR = 10
"""A pass is stopped when it takes this factor times the budget."""


class BenchListener(Protocol):
    """The receiver of a benchmark's progress."""

    def started(self, activity: str) -> None:
        """Hear of an activity that begins, such as `numba, 2 MP, k = 3`."""

    def finished(self, row: ResultRow) -> None:
        """Hear of a row that is complete."""


def run_benchmark(options: BenchOptions, listener: BenchListener) -> BenchResults:
    """Measure every implementation. A keyboard interrupt ends the benchmark early, with the rows so far.

    Raises:
        SourceError: There are no photos.
        BackendUnavailableError: A backend named in the options cannot run here, or no backend can.
    """
    results = BenchResults()
    try:
        with tempfile.TemporaryDirectory(prefix="kseg-batch-bench-") as folder:
            listener.started("looking for photos and backends")
            photo_set = PhotoSet(options, Path(folder))
            results.unreadable = photo_set.unreadable
            results.implementations, results.unavailable = _find_backends(options.backends)
            if options.libraries:
                libraries, results.not_installed = _find_libraries()
                results.implementations += libraries
            _MeasurementLoop(options, photo_set, results, listener).run()
    except KeyboardInterrupt:
        results.interrupted = True
    return results


def _find_backends(names: Sequence[str]) -> tuple[list[Implementation], dict[str, str]]:
    """Return the backends that run here, and the names of the others, each with the reason.

    Args:
        names: The backends to look for; none for all.

    Raises:
        BackendUnavailableError: A named backend cannot run here, or no backend can.
    """
    wanted = [backend for backend in BACKENDS if not names or backend.name in names]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        with interrupts_blocked():
            future = process.submit(find_unavailable_backends, [backend.name for backend in wanted])
        unavailable = future.result()
    available = [backend for backend in wanted if backend.name not in unavailable]
    reasons = [f"{name}: {reason}" for name, reason in unavailable.items()]
    if names and reasons:
        raise BackendUnavailableError(reasons[0], installed=True)
    if not available:
        raise BackendUnavailableError("; ".join(reasons), installed=True)
    return available, unavailable


def _find_libraries() -> tuple[list[Implementation], dict[str, str]]:
    """Return the installed libraries, and the names of the others, each with the pip command."""
    installed: list[Implementation] = []
    not_installed = {}
    for library in LIBRARIES:
        if library.requirement is None or library.requirement.installed:
            installed.append(library)
        else:
            not_installed[library.name] = f"pip install {library.requirement.distribution}"
    return installed, not_installed


@dataclass(slots=True)
class _MeasurementLoop:
    """The loop over sizes, numbers of clusters and implementations, from the smallest to the largest."""

    options: BenchOptions
    photo_set: PhotoSet
    results: BenchResults
    listener: BenchListener
    reference_checks: dict[int, ReferenceCheck] = field(default_factory=dict)
    """By k, with a copy of the first photo at the first size."""
    slow_rows: list[tuple[ResultRow, float]] = field(default_factory=list)
    """Rows with a pass that took longer than the budget, each with the seconds of that pass."""

    def run(self) -> None:
        """Measure each implementation at each size and k."""
        for size in self.options.sizes or (None,):
            self.listener.started("preparing photos")
            photos = self.photo_set.load(size)
            self.results.photos += [PhotoInfo(p.name, p.shape, len(p.colors.colors)) for p in photos]
            for k in self.options.k:
                self._run_case(photos, _size_label(size, photos), k)

    def _run_case(self, photos: Sequence[BenchPhoto], size: str, k: int) -> None:
        """Measure each implementation at one size and k."""
        megapixels = sum(photo.n_pixels for photo in photos) / len(photos) / 1e6
        checker = ResultChecker(photos)
        implementations = self.results.implementations
        if k not in self.reference_checks and any(one.exact for one in implementations):
            self.listener.started(f"the NumPy reference, k = {k}")
            self.reference_checks[k] = ReferenceCheck.of(photos[0].rgb, k)
        for one in implementations:
            threads = one.n_threads(self.options.threads)
            row = ResultRow(one.name, one.is_library, threads, size, megapixels, k, "skipped")
            self.listener.started(row.description)
            row = self._run_implementation(row, one, checker)
            self.results.rows.append(row)
            self.listener.finished(row)

    def _run_implementation(
        self, row: ResultRow, implementation: Implementation, checker: ResultChecker
    ) -> ResultRow:
        """Return the row with its status, and with metrics or a reason."""
        reason = self._reason_to_skip(row)
        if reason is not None:
            return replace(row, reason=reason)
        files = [photo.file for photo in checker.photos]
        limit = STOP_FACTOR * self.options.budget
        try:
            with Runner(implementation, files, self.options.threads) as runner:
                runner.wait_until_ready()
                return self._check_and_time(row, implementation, checker, runner, limit)
        except TimeoutError:
            self.slow_rows.append((row, limit))
            return replace(row, status="stopped", reason=f"a pass took longer than {limit:g} s")
        except BackendError as error:
            return replace(row, status="FAILED", reason=str(error))

    def _reason_to_skip(self, row: ResultRow) -> str | None:
        """Return a reason if the implementation was too slow at a case that is no larger."""
        for slow, seconds in self.slow_rows:
            same = slow.implementation == row.implementation
            if same and slow.megapixels <= row.megapixels and slow.k <= row.k:
                reason = f"at {slow.size}, k = {slow.k} it took {seconds:.0f} s"
                return f"{reason}, and --budget is {self.options.budget:g}"
        return None

    def _check_and_time(
        self,
        row: ResultRow,
        implementation: Implementation,
        checker: ResultChecker,
        runner: Runner,
        limit: float,
    ) -> ResultRow:
        """Check the first pass, which warms up, and time the following passes.

        If the first pass took longer than the budget, the first pass alone is the measurement.
        """
        options, budget = FitOptions(k=row.k), self.options.budget
        first = runner.run_pass(options, limit)
        problem = checker.find_problem(implementation.name, first.clusterings, exact=implementation.exact)
        if implementation.exact and problem is None:
            check = self.reference_checks[row.k]
            problem = check.find_problem(runner.run_pass(check.options, limit, check.photo).clusterings[0])
        passes: list[PassResult] = []
        if first.seconds > budget:
            self.slow_rows.append((row, first.seconds))
            passes.append(first)
        while problem is None and len(passes) < self.options.repeat and _seconds(passes) < budget:
            passes.append(runner.run_pass(options, limit))
            if implementation.exact and _labels(passes[-1]) != _labels(first):
                problem = "its labels change from pass to pass"
        if problem is not None:
            return replace(row, status="WRONG", reason=problem)
        return replace(row, status="measured", metrics=_metrics(passes, first, checker.photos))


def _size_label(size: Size | None, photos: Sequence[BenchPhoto]) -> str:
    """Return the label of a size; without one, the shape that all photos have, or `as they are`."""
    if size is not None:
        return size.label
    shapes = {photo.shape for photo in photos}
    return shapes.pop() if len(shapes) == 1 else "as they are"


def _seconds(passes: Sequence[PassResult]) -> float:
    return sum(one.seconds for one in passes)


def _labels(result: PassResult) -> list[bytes]:
    return [clustering.digest.labels for clustering in result.clusterings]


def _metrics(passes: Sequence[PassResult], first: PassResult, photos: Sequence[BenchPhoto]) -> Metrics:
    """Return the metrics of the timed passes; compactness and memory are those of the first pass."""
    milliseconds = [1e3 * one.seconds / len(photos) for one in passes]
    costs = [
        photo.colors.cost(clustering.digest.centers)
        for photo, clustering in zip(photos, first.clusterings, strict=True)
    ]
    return Metrics(
        median_ms=statistics.median(milliseconds),
        min_ms=min(milliseconds),
        max_ms=max(milliseconds),
        passes=len(passes),
        compactness=sum(costs),
        peak_mb=first.peak_mb,
        cores=sum(one.cores * one.seconds for one in passes) / _seconds(passes),
    )
