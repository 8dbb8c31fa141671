"""The sections of `benchmarks.gpu`, in the order of their importance, as long as there is time."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu import end_to_end, measure
from benchmarks.gpu.checks import Reference, check_oracle
from benchmarks.gpu.measure import Bandwidth, Bench, CpuTimes, measure_cpu
from benchmarks.gpu.peer_comparison import NOTE, Contest
from benchmarks.gpu.peers import PEERS
from benchmarks.gpu.report import (
    COLUMNS,
    PEER_COLUMNS,
    PEER_WIDTHS,
    UNITS,
    configuration_cells,
    configuration_line,
    end_to_end_lines,
    peer_line,
    step_lines,
)
from benchmarks.report import line
from kseg_batch.backends.gpu import Task
from kseg_batch.options import FitOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.gpu.photos import Album, Size
    from benchmarks.gpu.recording_device import Opened
    from benchmarks.gpu.report import Report

RAGGED_SIZES: list[Size] = [(640, 480), (1920, 1080), (1279, 853), (480, 640), (333, 777)]
RAGGED_K = (3, 2, 16, 5, 8, 3, 3)


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure. Sizes, k and batches are in the order of their importance."""

    sizes: tuple[Size, ...] = ((1920, 1080), (640, 480), (4000, 3000))
    k: tuple[int, ...] = (3, 16, 2, 5, 8, 64, 256)
    batches: tuple[int, ...] = (64, 1, 8)
    repeats: int = 30
    """Of every measurement, unless it takes longer than `seconds`."""
    seconds: float = 1.0
    check_seconds: float = 15.0
    """For the CPU's results that a batch is compared with; what is not, is told."""
    minutes: float = 8.0
    """No section begins later than this."""
    peers: tuple[str, ...] = tuple(PEERS)
    peer_k: tuple[int, ...] = (3, 16)
    peer_seconds: float = 75.0
    """For one peer, start of its process included."""
    images: int = 512
    """Of a run from end to end at the first size; at others in proportion. 0 for none."""
    runs: int = 3
    """From end to end."""
    ragged: bool = True
    copy_bytes: int = 4 << 30
    """Of the buffers that the memory's bandwidth is measured with."""


class Benchmark:
    """One run of all sections."""

    def __init__(self, settings: Settings, opened: Opened, album: Album, report: Report) -> None:
        self.settings = settings
        self.bench = Bench(opened)
        self.album = album
        self.report = report
        self.reference = Reference()
        self.bandwidth: Bandwidth | None = None
        self.cpu: dict[tuple[Size, int], CpuTimes] = {}
        self.began = time.perf_counter()

    def run(self) -> None:
        """Do the sections one after the other, as long as there is time."""
        report = self.report
        report.attempt("bandwidth", self.measure_bandwidth)
        if not report.attempt("oracle", self.check_oracle):
            return  # not one figure of what is wrong
        print(f"\n{UNITS}\n{configuration_line(COLUMNS)}", flush=True)
        for name, section in self.sections():
            if self.left() <= 0:
                report.content.setdefault("skipped", []).append(name)
                continue
            started = time.perf_counter()
            if not report.attempt(name, section):
                report.attempt(f"{name}, afterwards", self.bench.renew)
            seconds = {"section": name, "seconds": round(time.perf_counter() - started, 2)}
            report.add("durations", seconds)
        report.save()

    def left(self) -> float:
        """Seconds until no section begins any more."""
        return 60 * self.settings.minutes - (time.perf_counter() - self.began)

    def sections(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """All sections with their names, the most important first."""
        settings = self.settings
        first_size, first_k = settings.sizes[0], settings.k[0]
        order: tuple[tuple[object, ...], ...] = (settings.sizes, settings.k, settings.batches)
        grid = [(size, k, batch) for size in settings.sizes for k in settings.k for batch in settings.batches]
        grid.sort(key=lambda one: sum(row.index(choice) for row, choice in zip(order, one, strict=True)))
        urgent = [one for one in grid if one[:2] == (first_size, first_k)]
        for one in urgent:
            yield self._configuration(*one)
        if settings.images:
            yield self._end_to_end(first_size, first_k)
        if settings.peers:
            yield "peers", self.ask_peers
        for one in grid:
            if one not in urgent:
                yield self._configuration(*one)
        if settings.ragged:
            yield "mixed sizes and k", self.measure_ragged
        for size in settings.sizes[1:]:
            if settings.images:
                yield self._end_to_end(size, first_k)

    # ---- sections --------------------------------------------------------------------------------------

    def measure_bandwidth(self) -> None:
        """How fast memory is, for the floor."""
        found = measure.measure_bandwidth(self.bench, self.settings.copy_bytes, self.settings.repeats)
        self.bandwidth = found
        self.report.content["bandwidth"] = asdict(found)
        print(
            f"copies: {found.device:.0f} GB/s read and written on the device, "
            f"{found.upload:.1f} GB/s up, {found.download:.1f} GB/s down"
        )

    def check_oracle(self) -> None:
        """Small images, against the NumPy oracle."""
        n = check_oracle(self.bench.backend, self.album)
        self.report.content["oracle"] = {"images": n, "equal": True}
        print(f"{n} small images equal the NumPy oracle's results", flush=True)

    def _configuration(self, size: Size, k: int, batch: int) -> tuple[str, Callable[[], None]]:
        name = f"{size[0]}x{size[1]}, k = {k}, batch of {batch}"
        return name, lambda: self.measure_uniform(size, k, batch)

    def _end_to_end(self, size: Size, k: int) -> tuple[str, Callable[[], None]]:
        return f"end to end, {size[0]}x{size[1]}, k = {k}", lambda: self.measure_end_to_end(size, k)

    def measure_uniform(self, size: Size, k: int, batch: int) -> None:
        """A batch of one size and one k."""
        images = self.album.batch(size, batch, self.bench.backend)
        tasks = [Task(image, FitOptions(k=k), masks=False) for image in images]
        entry = self._measure(tasks, {"size": list(size), "k": k})
        if (size, k) not in self.cpu:
            self.cpu[size, k] = measure_cpu(self.album.batch(size, batch), [FitOptions(k=k)] * batch)
        self._finish(entry, self.cpu[size, k])

    def measure_ragged(self) -> None:
        """A batch of many sizes and many k."""
        n = self.settings.batches[0]
        images = self.album.ragged(n, RAGGED_SIZES, self.bench.backend)
        options = [FitOptions(k=RAGGED_K[i % len(RAGGED_K)]) for i in range(n)]
        tasks = [Task(image, one, masks=False) for image, one in zip(images, options, strict=True)]
        entry = self._measure(tasks, {"size": None, "k": None})
        self._finish(entry, measure_cpu(images, options))

    def _measure(self, tasks: Sequence[Task], what: dict[str, Any]) -> dict[str, Any]:
        """Check a batch, then time it on the GPU.

        Raises:
            WrongResultError: A result differs from the CPU's; nothing is timed.
        """
        settings = self.settings
        results = self.bench.run(tasks)
        checked = self.reference.check(results, settings.check_seconds)
        del results
        times = self.bench.measure(tasks, settings.repeats, settings.seconds)
        n = len(tasks)
        pixels = sum(task.image.size // 3 for task in tasks) / n
        kernels, copies = times.kernels.median / n, times.copies.median / n
        floor = self.bandwidth.floor(pixels) if self.bandwidth else None
        return {
            **what,
            "batch": n,
            "pixels_per_image": pixels,
            "images_checked": checked,
            "parts": times.parts,
            "kernels_ms_per_image": kernels,
            "kernels_images_per_s": 1e3 / kernels,
            "copies_ms_per_image": copies,
            "copies_images_per_s": 1e3 / copies,
            "floor_ms_per_image": floor,
            "times_floor": kernels / floor if floor else None,
            "wall_ms_per_image": times.wall / n,
            "batch_ms": {name: asdict(getattr(times, name)) for name in ("kernels", "copies", "latency")},
            "kernels": {name: asdict(spread) for name, spread in times.each.items()},
            "shares": times.shares,
        }

    def _finish(self, entry: dict[str, Any], cpu: CpuTimes) -> None:
        entry["cpu"] = asdict(cpu)
        entry["times_cpu"] = cpu.two_threads / entry["kernels_ms_per_image"]
        entry["times_cpu_with_copies"] = cpu.two_threads / entry["copies_ms_per_image"]
        self.report.add("configurations", entry)
        print(configuration_line(configuration_cells(entry)), flush=True)
        if len(self.report.content["configurations"]) == 1:
            print(*step_lines(entry), sep="\n", flush=True)

    def measure_end_to_end(self, size: Size, k: int) -> None:
        """From JPEG files to written outputs."""
        settings = self.settings
        images = self.album.batch(size, settings.batches[0], self.bench.backend)
        first = settings.sizes[0]
        n = settings.images * first[0] * first[1] // (size[0] * size[1])
        n = min(max(n, 2 * len(images)), 4 * settings.images)
        found = end_to_end.measure(self.bench, images, FitOptions(k=k), n, settings.runs)
        entry = {"size": list(size), "k": k, **asdict(found)}
        self.report.add("end_to_end", entry)
        print("", *end_to_end_lines(entry), "", sep="\n", flush=True)

    def ask_peers(self) -> None:
        """Other libraries, each in a process of its own, on the first size."""
        settings = self.settings
        self.report.content["peers_note"] = NOTE
        size, n = settings.sizes[0], settings.batches[0]
        images = self.album.batch(size, n, self.bench.backend)
        self.bench.renew()  # the memory is theirs now
        with tempfile.TemporaryDirectory() as folder:
            contest = Contest(Path(folder), min(settings.repeats, 10), 2 * settings.seconds)
            for k in settings.peer_k:
                contest.add(size, k, images)
            print("", line(PEER_COLUMNS, PEER_WIDTHS), sep="\n", flush=True)
            for peer in settings.peers:
                limit = max(10.0, min(settings.peer_seconds, self.left()))
                for found in contest.ask(peer, limit):
                    self.report.add("peers", found)
                    print(peer_line(found), flush=True)
        print("", flush=True)
