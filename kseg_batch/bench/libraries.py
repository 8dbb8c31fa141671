"""Other projects' libraries, called as their documentation shows: from uint8 pixels to labels and centres.

Each library is imported late, in the process of the one implementation that needs it.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.bench.implementations import ClusterFunction, Clustering, Implementation, Requirement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.kmeans.options import FitOptions


def limit_threads(threads: int) -> None:
    """Limit the threads of the libraries loaded so far. Without threadpoolctl, change nothing."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    threadpool_limits(limits=threads)


def _open_estimator(name: str, module: str, settings: dict[str, Any], threads: int) -> ClusterFunction:
    """Return a function that fits an estimator with scikit-learn's interface to all pixels."""
    estimator = getattr(import_module(module), name)
    if "n_jobs" in settings:
        settings = {**settings, "n_jobs": threads}
    limit_threads(threads)

    def cluster(rgb: NDArray[np.uint8], options: FitOptions) -> Clustering:
        model = estimator(n_clusters=options.k, random_state=options.seed, **settings)
        model.fit(rgb.reshape(-1, 3).astype(np.float32))
        return Clustering(model.labels_.reshape(rgb.shape[:2]), model.cluster_centers_)

    return cluster


def _open_estimator_on_colors(name: str, threads: int) -> ClusterFunction:
    """Return a function that fits an estimator of scikit-learn to the distinct colours with their counts."""
    estimator = getattr(import_module("sklearn.cluster"), name)
    limit_threads(threads)

    def cluster(rgb: NDArray[np.uint8], options: FitOptions) -> Clustering:
        packed = rgb.reshape(-1, 3) @ np.array([1 << 16, 1 << 8, 1], np.int32)
        counts = np.bincount(packed, minlength=1 << 24)
        codes = np.flatnonzero(counts)
        colors = ((codes[:, None] >> np.array([16, 8, 0])) & 255).astype(np.float32)
        model = estimator(n_clusters=min(options.k, len(codes)), random_state=options.seed)
        model.fit(colors, sample_weight=counts[codes].astype(np.float32))
        table = np.zeros(1 << 24, np.uint8)
        table[codes] = model.labels_
        return Clustering(table[packed].reshape(rgb.shape[:2]), model.cluster_centers_)

    return cluster


def _open_faiss(threads: int) -> ClusterFunction:
    """Return faiss.Kmeans on all pixels, in place of its default sample of 256 pixels for each centre."""
    faiss = import_module("faiss")
    faiss.omp_set_num_threads(threads)

    def cluster(rgb: NDArray[np.uint8], options: FitOptions) -> Clustering:
        pixels = rgb.reshape(-1, 3).astype(np.float32)
        model = faiss.Kmeans(
            3,
            options.k,
            min_points_per_centroid=1,
            max_points_per_centroid=len(pixels),
        )
        model.train(pixels)
        _, labels = model.index.search(pixels, 1)
        return Clustering(labels.reshape(rgb.shape[:2]), model.centroids)

    return cluster


def _open_pillow(kmeans: int, threads: int) -> ClusterFunction:
    """Return Pillow's median cut; with `kmeans` 1, followed by k-means until no pixel changes its cluster."""
    from PIL import Image

    def cluster(rgb: NDArray[np.uint8], options: FitOptions) -> Clustering:
        method = Image.Quantize.MEDIANCUT
        quantized = Image.fromarray(rgb).quantize(options.k, method=method, kmeans=kmeans)
        return _from_palette(np.asarray(quantized), quantized.getpalette() or [], 3)

    return cluster


def _open_libimagequant(threads: int) -> ClusterFunction:
    """Return pngquant's quantiser, without dithering. The library weighs colours by how they are seen."""
    quantize = import_module("imagequant").quantize_raw_rgba_bytes

    def cluster(rgb: NDArray[np.uint8], options: FitOptions) -> Clustering:
        height, width = rgb.shape[:2]
        rgba = np.empty((height, width, 4), np.uint8)
        rgba[..., :3], rgba[..., 3] = rgb, 255
        data, palette = quantize(rgba.tobytes(), width, height, dithering_level=0.0, max_colors=options.k)
        return _from_palette(np.frombuffer(data, np.uint8).reshape(height, width), palette, 4)

    return cluster


def _from_palette(labels: NDArray[np.uint8], palette: list[int], channels: int) -> Clustering:
    """Return (H, W) labels with the palette up to the greatest label; further entries are padding."""
    entries = np.array(palette, np.float64).reshape(-1, channels)
    return Clustering(labels, entries[: int(labels.max()) + 1, :3])


SCIKIT_LEARN = Requirement("sklearn", "scikit-learn")

_ON_COLORS = "on the distinct colours weighted by their pixels, counting them included"

LIBRARIES = (
    Implementation(
        "sklearn KMeans, pixels",
        "scikit-learn's KMeans with its defaults, one k-means++ start, on float32 pixels",
        partial(_open_estimator, "KMeans", "sklearn.cluster", {}),
        "all",
        requirement=SCIKIT_LEARN,
    ),
    Implementation(
        "sklearn KMeans, colours",
        f"the same {_ON_COLORS}",
        partial(_open_estimator_on_colors, "KMeans"),
        "all",
        requirement=SCIKIT_LEARN,
    ),
    Implementation(
        "sklearn MiniBatch, pixels",
        "scikit-learn's MiniBatchKMeans with its defaults, on float32 pixels; approximate",
        partial(_open_estimator, "MiniBatchKMeans", "sklearn.cluster", {}),
        "all",
        requirement=SCIKIT_LEARN,
    ),
    Implementation(
        "sklearn MiniBatch, colours",
        f"the same {_ON_COLORS}",
        partial(_open_estimator_on_colors, "MiniBatchKMeans"),
        "all",
        requirement=SCIKIT_LEARN,
    ),
    Implementation(
        "sklearnex KMeans, pixels",
        "KMeans of scikit-learn-intelex, one k-means++ start, on float32 pixels",
        partial(_open_estimator, "KMeans", "sklearnex.cluster", {"n_init": 1, "n_jobs": None}),
        "all",
        requirement=Requirement("sklearnex", "scikit-learn-intelex"),
    ),
    Implementation(
        "FAISS Kmeans, pixels",
        "faiss.Kmeans, one random start, 25 iterations, on all float32 pixels; then search",
        _open_faiss,
        "all",
        requirement=Requirement("faiss", "faiss-cpu"),
    ),
    Implementation(
        "Pillow median cut",
        "Image.quantize(k, MEDIANCUT); not k-means",
        partial(_open_pillow, 0),
        "one",
        requirement=Requirement("PIL", "pillow"),
    ),
    Implementation(
        "Pillow median cut, kmeans",
        "the same with kmeans=1, which goes on until no colour changes its cluster",
        partial(_open_pillow, 1),
        "one",
        requirement=Requirement("PIL", "pillow"),
    ),
    Implementation(
        "libimagequant",
        "by the package imagequant, no dithering; weighs colours by how they are seen",
        _open_libimagequant,
        "one",
        requirement=Requirement("imagequant", "imagequant"),
    ),
)
"""The libraries that `--peers` adds."""
