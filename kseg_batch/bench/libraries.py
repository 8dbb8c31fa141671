"""Other people's libraries, each as its documentation has it: from uint8 pixels to labels and centres.

Imports are late, in the process of the one contender that needs them.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.bench.implementations import Cluster, Clustering, Contender

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.kmeans.options import FitOptions


def limit_threads(threads: int) -> None:
    """Tell the libraries that are loaded, where threadpoolctl is there to tell them."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    threadpool_limits(limits=threads)


def _open_pixels(model: str, module: str, settings: dict[str, Any], threads: int) -> Cluster:
    """An estimator of scikit-learn, or one like it, on one row a pixel."""
    estimator = getattr(import_module(module), model)
    if "n_jobs" in settings:
        settings = {**settings, "n_jobs": threads}
    limit_threads(threads)

    def cluster(rgb: NDArray[np.uint8], options: FitOptions) -> Clustering:
        found = estimator(n_clusters=options.k, random_state=options.seed, **settings)
        found.fit(rgb.reshape(-1, 3).astype(np.float32))
        return Clustering(found.labels_.reshape(rgb.shape[:2]), found.cluster_centers_)

    return cluster


def _open_colors(model: str, threads: int) -> Cluster:
    """An estimator of scikit-learn on the distinct colours, each weighted by its pixels."""
    estimator = getattr(import_module("sklearn.cluster"), model)
    limit_threads(threads)

    def cluster(rgb: NDArray[np.uint8], options: FitOptions) -> Clustering:
        packed = rgb.reshape(-1, 3) @ np.array([1 << 16, 1 << 8, 1], np.int32)
        counts = np.bincount(packed, minlength=1 << 24)
        codes = np.flatnonzero(counts)
        colors = ((codes[:, None] >> np.array([16, 8, 0])) & 255).astype(np.float32)
        found = estimator(n_clusters=min(options.k, len(codes)), random_state=options.seed)
        found.fit(colors, sample_weight=counts[codes].astype(np.float32))
        table = np.zeros(1 << 24, np.uint8)
        table[codes] = found.labels_
        return Clustering(table[packed].reshape(rgb.shape[:2]), found.cluster_centers_)

    return cluster


def _open_faiss(threads: int) -> Cluster:
    """faiss.Kmeans on all pixels: by default it would draw 256 for each centre."""
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


def _open_pillow(kmeans: int, threads: int) -> Cluster:
    """Pillow's median cut, and with `kmeans` its iterations until no pixel changes its cluster."""
    from PIL import Image

    def cluster(rgb: NDArray[np.uint8], options: FitOptions) -> Clustering:
        method = Image.Quantize.MEDIANCUT
        found = Image.fromarray(rgb).quantize(options.k, method=method, kmeans=kmeans)
        return _from_palette(np.asarray(found), found.getpalette() or [], 3)

    return cluster


def _open_libimagequant(threads: int) -> Cluster:
    """The library behind pngquant, without dithering. It weighs colours by how they are seen."""
    quantize = import_module("imagequant").quantize_raw_rgba_bytes

    def cluster(rgb: NDArray[np.uint8], options: FitOptions) -> Clustering:
        height, width = rgb.shape[:2]
        rgba = np.empty((height, width, 4), np.uint8)
        rgba[..., :3], rgba[..., 3] = rgb, 255
        data, palette = quantize(rgba.tobytes(), width, height, dithering_level=0.0, max_colors=options.k)
        return _from_palette(np.frombuffer(data, np.uint8).reshape(height, width), palette, 4)

    return cluster


def _from_palette(labels: NDArray[np.uint8], palette: list[int], channels: int) -> Clustering:
    """Labels with the part of a palette that they use; what follows in it is filling."""
    entries = np.array(palette, np.float64).reshape(-1, channels)
    return Clustering(labels, entries[: int(labels.max()) + 1, :3])


SKLEARN = ("sklearn", "scikit-learn")

COLORS = "on the distinct colours weighted by their pixels, counting them included"

PEERS = (
    Contender(
        "sklearn KMeans, pixels",
        "scikit-learn's KMeans with its defaults, one k-means++ start, on float32 pixels",
        partial(_open_pixels, "KMeans", "sklearn.cluster", {}),
        "all",
        needs=SKLEARN,
    ),
    Contender(
        "sklearn KMeans, colours",
        f"the same {COLORS}",
        partial(_open_colors, "KMeans"),
        "all",
        needs=SKLEARN,
    ),
    Contender(
        "sklearn MiniBatch, pixels",
        "scikit-learn's MiniBatchKMeans with its defaults, on float32 pixels; approximate",
        partial(_open_pixels, "MiniBatchKMeans", "sklearn.cluster", {}),
        "all",
        needs=SKLEARN,
    ),
    Contender(
        "sklearn MiniBatch, colours",
        f"the same {COLORS}",
        partial(_open_colors, "MiniBatchKMeans"),
        "all",
        needs=SKLEARN,
    ),
    Contender(
        "sklearnex KMeans, pixels",
        "KMeans of scikit-learn-intelex, one k-means++ start, on float32 pixels",
        partial(_open_pixels, "KMeans", "sklearnex.cluster", {"n_init": 1, "n_jobs": None}),
        "all",
        needs=("sklearnex", "scikit-learn-intelex"),
    ),
    Contender(
        "FAISS Kmeans, pixels",
        "faiss.Kmeans, one random start, 25 iterations, on all float32 pixels; then search",
        _open_faiss,
        "all",
        needs=("faiss", "faiss-cpu"),
    ),
    Contender(
        "Pillow median cut",
        "Image.quantize(k, MEDIANCUT); not k-means",
        partial(_open_pillow, 0),
        "one",
        needs=("PIL", "pillow"),
    ),
    Contender(
        "Pillow median cut, kmeans",
        "the same with kmeans=1, which goes on until no colour changes its cluster",
        partial(_open_pillow, 1),
        "one",
        needs=("PIL", "pillow"),
    ),
    Contender(
        "libimagequant",
        "by the package imagequant, no dithering; weighs colours by how they are seen",
        _open_libimagequant,
        "one",
        needs=("imagequant", "imagequant"),
    ),
)
