"""Time another k-means library on the same pixels.

python -m benchmarks.gpu.peers PEER CASES.json

Each peer has a process of its own, so that a crash, a hang or a damaged GPU context has no effect elsewhere.
The program prints a line of JSON for each case and mode.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

TORCH_CHUNK = 1 << 20
"""Pixels whose distances torch keeps in memory at a time."""
TORCH_IMAGES, SKLEARN_IMAGES = 8, 2
"""Images of a case that are done by peers that take one image after the other."""
LEAST_RUNS = 2


@dataclass(frozen=True, slots=True)
class Case:
    """Pixels, starts and limits that every peer gets."""

    name: str
    pixels: str
    """File of the (B, N, 3) uint8 pixels of a batch."""
    centers: str
    """File of the (S, B, k, 3) float32 centres of S starts, in grey levels, which are timed together."""
    iterations: list[int]
    """(B,) iterations of each image; with a tolerance, the most iterations."""
    tolerance: float | None
    """Greatest movement of a centre, in grey levels, at which to stop; None to do all iterations."""
    repeats: int
    seconds: float
    """Time limit of the repeats: fewer are done where they take longer."""


@dataclass(frozen=True, slots=True)
class PeerTime:
    """The time of a peer for a case."""

    peer: str
    mode: str
    """The number format, or the number of threads."""
    case: str
    ms_per_image: float
    """Median of the runs."""
    runs: int
    images: int
    """Number of images of the batch that were done."""
    iterations: float
    """Mean over images and starts; with a tolerance, the most iterations."""
    centers: list[list[list[float]]]
    """(S, k, 3) centres of the first image, for their cost."""


class PeerError(Exception):
    """A peer does not run as intended."""


def timed(call: Callable[[], Any], wait: Callable[[], object], case: Case) -> tuple[list[float], Any]:
    """Return the milliseconds of each run after a warm-up, and the result of the warm-up."""
    runs: list[float] = []

    def run() -> Any:
        start = time.perf_counter()
        result = call()
        wait()
        runs.append(1e3 * (time.perf_counter() - start))
        return result

    centers = run()
    if case.tolerance is not None and sum(runs) > 1e3 * case.seconds:
        return runs, centers  # slow; an earlier case was the warm-up
    runs.clear()
    while len(runs) < min(LEAST_RUNS, case.repeats) or (
        len(runs) < case.repeats and sum(runs) < 1e3 * case.seconds
    ):
        run()
    return runs, centers


def load(case: Case, images: int | None = None) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the pixels and the starts of the first `images` images of a case, or of all."""
    pixels = np.array(np.load(case.pixels, mmap_mode="r")[:images])
    return pixels, np.array(np.load(case.centers, mmap_mode="r")[:, :images])


def flash_kmeans(case: Case) -> Iterator[PeerTime]:
    """Time Triton kernels on a batch at a time; every image has the mean number of iterations."""
    torch, flash = import_module("torch"), import_module("flash_kmeans")
    cluster: Any = flash.batch_kmeans_Euclid
    if "fallback" in cluster.__module__:
        raise PeerError("flash-kmeans has no Triton here, and falls back to plain PyTorch")
    warnings.filterwarnings("error", message="Falling back")
    pixels, starts = load(case)
    iterations = max(1, round(statistics.mean(case.iterations)))
    failures = []
    for mode, dtype, scale in (("float32", torch.float32, 1.0), ("float16", torch.float16, 255.0)):
        # squares of 255 leave float16's range, so there the colours are from 0 to 1
        try:
            x = torch.from_numpy(pixels).cuda().to(torch.float32).div_(scale).to(dtype)
            begins = [torch.from_numpy(start / scale).cuda().to(dtype) for start in starts]
            tolerance = -1.0 if case.tolerance is None else case.tolerance / scale

            def call(x: Any = x, begins: Any = begins, tolerance: float = tolerance) -> Any:
                found = [
                    cluster(
                        x,
                        starts.shape[2],
                        max_iters=iterations,
                        tol=tolerance,
                        init_centroids=begin.clone(),
                    )[1]
                    for begin in begins
                ]
                return torch.stack([centers[0] for centers in found])

            runs, centers = timed(call, torch.cuda.synchronize, case)
        except Exception as error:  # noqa: BLE001 - a library of others; the other format may work
            failures.append(f"{mode}: {one_line(error)}")
            continue
        grey = (centers.float() * scale).cpu().numpy()
        yield _peer_time("flash-kmeans", mode, case, runs, len(pixels), iterations, grey)
    if failures:
        raise PeerError("; ".join(failures))


def torch_lloyd(case: Case) -> Iterator[PeerTime]:
    """Time plain PyTorch on the GPU, float32: distances by a matrix product, sums by index_add."""
    torch = import_module("torch")
    if not torch.cuda.is_available():
        raise PeerError("PyTorch has no GPU here")
    pixels, starts = load(case, TORCH_IMAGES)
    x = torch.from_numpy(pixels).cuda().float()
    begins = torch.from_numpy(starts).cuda()
    ones = torch.ones(TORCH_CHUNK, device="cuda")

    def lloyd(points: Any, centers: Any, iterations: int) -> Any:
        for _ in range(iterations):
            sums, counts = torch.zeros_like(centers), torch.zeros(len(centers), device="cuda")
            for chunk in points.split(TORCH_CHUNK):
                labels = ((centers * centers).sum(1) - 2 * chunk @ centers.T).argmin(1)
                sums.index_add_(0, labels, chunk)
                counts.index_add_(0, labels, ones[: len(chunk)])
            moved = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centers)
            shift, centers = (moved - centers).norm(dim=1).max(), moved
            if case.tolerance is not None and float(shift) <= case.tolerance:
                break
        return centers

    def call() -> Any:
        found = [[lloyd(x[i], start[i], case.iterations[i]) for i in range(len(pixels))] for start in begins]
        return torch.stack([centers[0] for centers in found])

    runs, centers = timed(call, torch.cuda.synchronize, case)
    mean = statistics.mean(case.iterations[: len(pixels)])
    yield _peer_time("torch", "float32", case, runs, len(pixels), mean, centers.cpu().numpy())


def torch_weighted(case: Case) -> Iterator[PeerTime]:
    """Time plain PyTorch on the distinct colours of each image and their counts, without the counting.

    The comparison separates the gain of the histogram from that of the kernels.
    """
    torch = import_module("torch")
    if not torch.cuda.is_available():
        raise PeerError("PyTorch has no GPU here")
    pixels, starts = load(case, TORCH_IMAGES)
    begins = torch.from_numpy(starts).cuda()
    weighted = []
    for image in torch.from_numpy(pixels).cuda().int():
        packed = image[:, 0] << 16 | image[:, 1] << 8 | image[:, 2]
        codes, counts = torch.unique(packed, return_counts=True)
        colors = torch.stack([codes >> 16, codes >> 8 & 255, codes & 255], dim=1)
        weighted.append((colors.float(), counts.float()))

    def lloyd(points: Any, weights: Any, centers: Any, iterations: int) -> Any:
        for _ in range(iterations):
            labels = ((centers * centers).sum(1) - 2 * points @ centers.T).argmin(1)
            sums, counts = torch.zeros_like(centers), torch.zeros(len(centers), device="cuda")
            sums.index_add_(0, labels, points * weights[:, None])
            counts.index_add_(0, labels, weights)
            moved = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centers)
            shift, centers = (moved - centers).norm(dim=1).max(), moved
            if case.tolerance is not None and float(shift) <= case.tolerance:
                break
        return centers

    def call() -> Any:
        found = [
            [lloyd(*weighted[i], start[i], case.iterations[i]) for i in range(len(pixels))]
            for start in begins
        ]
        return torch.stack([centers[0] for centers in found])

    runs, centers = timed(call, torch.cuda.synchronize, case)
    mean = statistics.mean(case.iterations[: len(pixels)])
    yield _peer_time("torch-weighted", "float32", case, runs, len(pixels), mean, centers.cpu().numpy())


def scikit_learn(case: Case) -> Iterator[PeerTime]:
    """Time scikit-learn's KMeans on all cores of the CPU, float32, image by image."""
    cluster = import_module("sklearn.cluster")
    pixels, starts = load(case, SKLEARN_IMAGES)
    x = pixels.astype(np.float32)
    warnings.simplefilter("ignore")  # of a fit that stops before it converges, as intended

    def fit(i: int, start: NDArray[np.float32]) -> Any:
        model = cluster.KMeans(
            n_clusters=starts.shape[2],
            init=start,
            n_init=1,
            max_iter=case.iterations[i],
            tol=0,
            algorithm="lloyd",
        )
        return model.fit(x[i]).cluster_centers_

    def call() -> NDArray[Any]:
        found = [[fit(i, start[i]) for i in range(len(pixels))] for start in starts]
        return np.stack([centers[0] for centers in found])

    runs, centers = timed(call, lambda: None, case)
    mean = statistics.mean(case.iterations[: len(pixels)])
    yield _peer_time("scikit-learn", f"{os.cpu_count()} threads", case, runs, len(pixels), mean, centers)


PEERS = {
    "flash-kmeans": flash_kmeans,
    "torch-weighted": torch_weighted,
    "torch": torch_lloyd,
    "scikit-learn": scikit_learn,
}


def _peer_time(
    peer: str,
    mode: str,
    case: Case,
    runs: list[float],
    images: int,
    iterations: float,
    centers: NDArray[Any],
) -> PeerTime:
    milliseconds = statistics.median(runs) / images
    return PeerTime(peer, mode, case.name, milliseconds, len(runs), images, iterations, centers.tolist())


def one_line(error: BaseException) -> str:
    """Return an error in one line of at most 400 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]


def main() -> None:
    """Time the named peer on each case of a file, and print a line of JSON for each time or failure."""
    peer, file = sys.argv[1:]
    for given in json.loads(Path(file).read_text(encoding="utf-8")):
        case = Case(**given)
        try:
            for finding in PEERS[peer](case):
                print(json.dumps(asdict(finding)), flush=True)
        except Exception as error:  # noqa: BLE001 - whatever a library of others raises
            print(json.dumps({"peer": peer, "case": case.name, "error": one_line(error)}), flush=True)


if __name__ == "__main__":
    main()
