"""The contest: every contender at every size and number of clusters, checked, then timed."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kseg_batch.bench.checks import Referee, SmallCase
from kseg_batch.bench.implementations import OURS, unavailable
from kseg_batch.bench.libraries import PEERS
from kseg_batch.bench.photos import Album
from kseg_batch.bench.results import Contest, Figures, PhotoFacts, Row
from kseg_batch.bench.runner import Contestant
from kseg_batch.errors import BackendError, BackendUnavailableError
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.processes import interrupts_blocked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kseg_batch.bench.implementations import Contender
    from kseg_batch.bench.options import BenchOptions
    from kseg_batch.bench.photos import Photo
    from kseg_batch.bench.runner import Pass

STOP_FACTOR = 10
"""A contender is stopped when a pass takes so many times the budget."""


class Listener(Protocol):
    """Is told how it goes."""

    def doing(self, text: str) -> None:
        """What is being done now."""

    def done(self, row: Row) -> None:
        """What came of it."""


def hold(options: BenchOptions, listener: Listener) -> Contest:
    """Measure everything. A keyboard interrupt ends it early, with what there is.

    Raises:
        SourceError: There are no photos.
        BackendUnavailableError: A backend that must take part cannot run here.
    """
    contest = Contest()
    try:
        with tempfile.TemporaryDirectory(prefix="kseg-batch-bench-") as folder:
            listener.doing("looking for photos and backends")
            album = Album(options, Path(folder))
            contest.unreadable = album.unreadable
            _line_up(options, contest)
            _Measuring(options, album, contest, listener).all()
    except KeyboardInterrupt:
        contest.interrupted = True
    return contest


def _line_up(options: BenchOptions, contest: Contest) -> None:
    """Find out who takes part."""
    wanted = [c for c in OURS if not options.backends or c.name in options.backends]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        with interrupts_blocked():
            asked = process.submit(unavailable, [c.name for c in wanted])
        contest.absent = asked.result()
    for name, reason in contest.absent.items():
        if options.backends:
            raise BackendUnavailableError(f"{name}: {reason}", installed=True)
    contest.contenders = [c for c in wanted if c.name not in contest.absent]
    if not contest.contenders:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in contest.absent.items())
        raise BackendUnavailableError(reasons, installed=True)
    for peer in PEERS if options.peers else ():
        if peer.installed:
            contest.contenders.append(peer)
        elif peer.needs is not None:
            contest.not_installed[peer.name] = f"pip install {peer.needs[1]}"


@dataclass(slots=True)
class _Measuring:
    """Goes through sizes, numbers of clusters and contenders, the small before the large."""

    options: BenchOptions
    album: Album
    contest: Contest
    listener: Listener
    small: dict[int, SmallCase] = field(default_factory=dict)
    """By k; of the first photo at the first size."""
    slow: list[tuple[Row, float]] = field(default_factory=list)
    """Where a pass took longer than the budget, and how many seconds."""

    def all(self) -> None:
        """Measure everything."""
        for size in self.options.sizes or (None,):
            self.listener.doing("preparing photos")
            photos = self.album.at(size)
            shapes = {photo.shape for photo in photos}
            label = size.label if size else shapes.pop() if len(shapes) == 1 else "as they are"
            megapixels = sum(photo.pixels for photo in photos) / len(photos) / 1e6
            self.contest.photos += [PhotoFacts(p.name, p.shape, len(p.colors.counts)) for p in photos]
            for k in self.options.k:
                referee = Referee(photos)
                if k not in self.small and any(c.exact for c in self.contest.contenders):
                    self.listener.doing(f"the NumPy reference, k = {k}")
                    self.small[k] = SmallCase.of(photos[0].rgb, k)
                for contender in self.contest.contenders:
                    threads = contender.n_threads(self.options.threads)
                    row = Row(contender.name, contender.peer, threads, label, megapixels, k, "skipped")
                    self.listener.doing(row.where)
                    row = self._measured(row, contender, referee)
                    self.contest.rows.append(row)
                    self.listener.done(row)

    def _measured(self, row: Row, contender: Contender, referee: Referee) -> Row:
        """The row with what came of it."""
        for slow, seconds in self.slow:
            if slow.contender == row.contender and slow.megapixels <= row.megapixels and slow.k <= row.k:
                reason = f"at {slow.size}, k = {slow.k} it took {seconds:.0f} s"
                return replace(row, reason=f"{reason}, and --budget is {self.options.budget:g}")
        files = [photo.file for photo in referee.photos]
        limit = STOP_FACTOR * self.options.budget
        try:
            with Contestant(contender, files, self.options.threads) as contestant:
                contestant.wait_until_ready()
                return self._checked_and_timed(row, contender, referee, contestant, limit)
        except TimeoutError:
            self.slow.append((row, limit))
            return replace(row, status="stopped", reason=f"a pass took longer than {limit:g} s")
        except BackendError as error:
            return replace(row, status="FAILED", reason=str(error))

    def _checked_and_timed(
        self, row: Row, contender: Contender, referee: Referee, contestant: Contestant, limit: float
    ) -> Row:
        """The first pass warms up and is checked; if it was slow, it is what counts, too."""
        options, budget = FitOptions(k=row.k), self.options.budget
        first = contestant.run(options, limit)
        problem = referee.problem(contender.name, first.found, exact=contender.exact)
        if contender.exact and problem is None:
            case = self.small[row.k]
            problem = case.problem(contestant.run(case.options, limit, case.photo).found[0])
        passes: list[Pass] = []
        if first.seconds > budget:
            self.slow.append((row, first.seconds))
            passes.append(first)
        while problem is None and len(passes) < self.options.repeat and _seconds(passes) < budget:
            passes.append(contestant.run(options, limit))
            if contender.exact and [f.clustering.labels for f in passes[-1].found] != [
                f.clustering.labels for f in first.found
            ]:
                problem = "its labels change from pass to pass"
        if problem is not None:
            return replace(row, status="WRONG", reason=problem)
        return replace(row, status="measured", figures=_figures(passes, first, referee.photos))


def _seconds(passes: Sequence[Pass]) -> float:
    return sum(one.seconds for one in passes)


def _figures(passes: Sequence[Pass], first: Pass, photos: Sequence[Photo]) -> Figures:
    milliseconds = [1e3 * one.seconds / len(photos) for one in passes]
    costs = [
        photo.colors.cost(found.clustering.centers) for photo, found in zip(photos, first.found, strict=True)
    ]
    return Figures(
        median_ms=statistics.median(milliseconds),
        least_ms=min(milliseconds),
        most_ms=max(milliseconds),
        passes=len(passes),
        compactness=sum(costs),
        peak_mb=first.peak_mb,
        cores=sum(one.cores * one.seconds for one in passes) / _seconds(passes),
    )
