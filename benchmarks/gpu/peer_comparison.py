"""The step that times peer libraries on the pixels, starts and iterations of kseg-batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu.findings import SkippedError, StepError
from benchmarks.gpu.peers import Case
from benchmarks.gpu.report import PEER_COLUMNS, PEER_WIDTHS, peer_line
from benchmarks.gpu.step import RESERVE
from benchmarks.support.report import line
from kseg_batch.backends import numba_cpu
from kseg_batch.bench.exact_cost import DistinctColors
from kseg_batch.kernels import numba_cpu as kernels
from kseg_batch.kmeans import reference
from kseg_batch.kmeans.fixed_point import SCALE
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from benchmarks.gpu.photos import Size
    from benchmarks.gpu.step import Work

NOTE = (
    "same start: each peer begins where Lloyd's algorithm over all colours begins in kseg-batch, and does as "
    "many iterations as that took; kseg-batch does the seeding, ten starts and swaps on top in its time. "
    "ten starts: from ten random draws of pixels to convergence (0.2 grey levels, 100 iterations at most), "
    "which is what kseg-batch's time is for. Peers begin with float pixels on their device."
)

TEN = 10
SAME_START, TEN_STARTS = "same start", "ten starts"
ONLY_SAME_START = ("scikit-learn",)
"""Peers for which ten starts take too long."""

SHARES = {"flash-kmeans": 0.6, "torch-weighted": 0.5, "torch": 1.0}
"""Peers of the trial, and the share of each in the remaining time: the first peer compiles."""
IMAGES = 16
"""Images of a case: 33 million pixels fill any GPU."""
KS = (3, 16)
REPEATS = 10
SECONDS = 1.0
"""Seconds for the repeats of one case."""


def peers(work: Work) -> None:
    """Time other libraries on the same pixels, each in a process of its own.

    Raises:
        SkippedError: PyTorch, which all peers need, is not installed.
        StepError: No peer gives a figure.
    """
    if find_spec("torch") is None:
        raise SkippedError("PyTorch is not installed")
    findings, scale = work.findings, work.scale
    findings.add(note=NOTE)
    comparison = PeerComparison(work.scratch, REPEATS, SECONDS)
    for k in KS:
        comparison.add(scale.size, k, work.photos.batch(scale.size, min(IMAGES, scale.batch)))
    print(line(PEER_COLUMNS, PEER_WIDTHS), flush=True)
    fastest: dict[str, float] = {}
    for peer, share in SHARES.items():
        for found in comparison.measure(peer, max(1.0, share * (findings.left() - RESERVE))):
            findings.append("peers", found)
            print(peer_line(found), flush=True)
            if found.get("k") == KS[0] and found.get("kind") == SAME_START and "ms_per_image" in found:
                fastest[peer] = min(found["ms_per_image"], fastest.get(peer, float("inf")))
    if not fastest:
        raise StepError("no peer gave a figure")
    told = ", ".join(f"{peer} {time:.3f} ms" for peer, time in fastest.items())
    findings.summarise(f"k = {KS[0]}, {SAME_START}, an image: {told}")


def seeded(image: NDArray[np.uint8], options: FitOptions) -> tuple[NDArray[np.float32], int, float]:
    """Return the start of Lloyd's algorithm over all colours, its iterations, and the cost of its result.

    The start is (k, 3) float32, in grey levels. The CPU backend computes the start, as the GPU would.
    """
    backend = numba_cpu.load()
    histogram = backend.histogram(image)
    k = min(options.k, histogram.n_colors)
    colors = numba_cpu.kernel_colors(histogram)
    rows = numba_cpu.Workspace().rows
    kernels.sum_cells(colors, rows)
    centers = np.empty((3, k), np.int32)
    limits = reference.coarse_points(k), reference.fine_points(k)
    points = numba_cpu.kernel_points(colors, histogram.n_pixels, *limits, rows)
    numba_cpu.seed_centers(*points, options, rows, centers)
    palette = backend.fit(histogram, options)
    assert palette.n_iter is not None
    return (centers.T / SCALE).astype(np.float32), palette.n_iter, palette.compactness


@dataclass(slots=True)
class PeerComparison:
    """The cases of every peer, with arrays in files of a folder that must outlive the comparison."""

    folder: Path
    repeats: int
    seconds: float
    """Seconds for the repeats of one case."""
    cases: dict[str, Case] = field(default_factory=dict)
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Size, k, batch and kind of each case."""
    costs: dict[str, tuple[DistinctColors, float]] = field(default_factory=dict)
    """The colours of the first image of each case, and the cost of our centres on this image."""

    def add(self, size: Size, k: int, images: Sequence[NDArray[np.uint8]]) -> None:
        """Add the two cases of a batch of one size and k."""
        options = FitOptions(k=k)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            starts = list(pool.map(lambda image: seeded(image, options), images))
        pixels = np.stack([image.reshape(-1, 3) for image in images])
        rng, n = np.random.default_rng(0), pixels.shape[1]
        drawn = [[one[rng.choice(n, k, replace=n < k)] for one in pixels] for _ in range(TEN)]
        most = [options.max_iter] * len(images)
        file = self._save("pixels", pixels)
        first = self._save("seeded", np.stack([centers for centers, _, _ in starts])[None])
        ten = self._save("drawn", np.array(drawn, np.float32))
        cost = DistinctColors.of(images[0]), starts[0][2]
        iterations, fewer = [n_iter for _, n_iter, _ in starts], max(1, self.repeats // 4)
        for kind, case in (
            (SAME_START, Case("", file, first, iterations, None, self.repeats, self.seconds)),
            (TEN_STARTS, Case("", file, ten, most, options.eps, fewer, self.seconds)),
        ):
            name = f"{size[0]}x{size[1]}, k = {k}, batch of {len(images)}, {kind}"
            self.cases[name] = replace(case, name=name)
            self.known[name] = {"size": list(size), "k": k, "batch": len(images), "kind": kind}
            self.costs[name] = cost

    def measure(self, peer: str, limit: float) -> Iterator[dict[str, Any]]:
        """Time a peer on each case, in a process of its own that is stopped after `limit` seconds.

        Yields times, and failures, as dicts for JSON, with size, k, batch and kind of the case. `cost_ratio`
        is the exact cost of the peer's centres on the first image, the lowest of its starts, divided by ours.
        """
        skipped = TEN_STARTS if peer in ONLY_SAME_START else None
        order = {SAME_START: 0, TEN_STARTS: 1}
        names = sorted(self.cases, key=lambda name: order[self.known[name]["kind"]])
        cases = [self.cases[name] for name in names if self.known[name]["kind"] != skipped]
        file = self.folder / f"{peer}.json"
        file.write_text(json.dumps([asdict(case) for case in cases]), encoding="utf-8")
        missing = {case.name for case in cases}
        for found in _answers(peer, file, limit):
            name = found.pop("case", "")
            missing.discard(name)
            if "centers" in found:
                distinct, cost = self.costs[name]
                centers = np.nan_to_num(np.array(found.pop("centers"), np.float64))
                lowest = min(distinct.cost(start) for start in centers)
                found["cost_ratio"] = lowest / cost if cost else None
            yield {**self.known.get(name, {}), **found}
        for name in sorted(missing):
            yield {**self.known[name], "peer": peer, "error": "the peer gave no answer, or not in time"}

    def _save(self, name: str, array: NDArray[Any]) -> str:
        path = self.folder / f"{len(self.cases)}-{name}.npy"
        np.save(path, array)
        return str(path)


def _answers(peer: str, cases: Path, limit: float) -> Iterator[dict[str, Any]]:
    """Yield the lines that the process of a peer prints, and the failure of the process."""
    command = [sys.executable, "-m", "benchmarks.gpu.peers", peer, str(cases)]
    out, err = (
        cases.with_suffix(".out"),
        cases.with_suffix(".err"),
    )  # no pipes, which a peer's children keep open
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=stdout, stderr=stderr)
        problem = None
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            problem = f"the process was stopped after {limit:.3g} s"
        finally:
            process.kill()
            process.wait()
    if problem is None and process.returncode:
        last = " ".join(err.read_text(errors="replace").split())[-300:]
        problem = f"the process exited with status {process.returncode}: {last}"
    for text in out.read_text(errors="replace").splitlines():
        if text.startswith("{") and text.endswith("}"):
            yield json.loads(text)
    if problem is not None:
        yield {"peer": peer, "error": problem}
