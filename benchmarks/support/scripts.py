"""Scripts without kseg-batch: the tutorial as a batch script, and a script with the fastest peer library."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.support.ceiling import make_folders, output_paths
from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

PEER = "scikit-learn-intelex"
"""Distribution of the fastest peer, for x86 only."""


def tutorial(sources: Sequence[Path], out: Path, k: int, threads: int) -> None:
    """Run the tutorial's steps on each photo, and write its segmented image and masks by cv2.imwrite."""
    cv2 = import_cv2()
    cv2.setNumThreads(threads)
    make_folders(out)
    for source in sources:
        image = cv2.cvtColor(cv2.imread(str(source)), cv2.COLOR_BGR2RGB)
        pixel_values = np.float32(image.reshape((-1, 3)))
        criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 0.2)
        _, labels, centers = cv2.kmeans(pixel_values, k, None, criteria, 10, cv2.KMEANS_RANDOM_CENTERS)
        labels = labels.reshape(image.shape[:2])
        segmented, masks = output_paths(out, source, k)
        cv2.imwrite(str(segmented), cv2.cvtColor(centers.astype(np.uint8)[labels], cv2.COLOR_RGB2BGR))
        for cluster, path in enumerate(masks):
            cv2.imwrite(str(path), np.uint8(255) * (labels == cluster))


@dataclass(frozen=True, slots=True)
class PeerShare:
    """The photos that one process with scikit-learn-intelex segments."""

    sources: tuple[Path, ...]
    """JPEG files."""
    out: Path
    """Output folder."""
    k: int
    cores: tuple[int, ...]
    """Numbers of the cores that the process may use: oneDAL starts a thread on each."""


def prepare_peer(share: PeerShare) -> Callable[[], None]:
    """Load scikit-learn-intelex, and return a function that segments and writes the photos.

    The function makes one k-means++ start a photo. PNG files have level 1, which takes Pillow a third less
    time than its default.
    """
    os.sched_setaffinity(0, share.cores)
    cluster = import_module("sklearnex.cluster")
    make_folders(share.out)

    def work() -> None:
        for source in share.sources:
            with Image.open(source) as picture:
                rgb = np.asarray(picture.convert("RGB"))
            pixels = rgb.reshape(-1, 3).astype(np.float32)
            model = cluster.KMeans(n_clusters=share.k, n_init=1, random_state=0).fit(pixels)
            labels = model.labels_.astype(np.uint8).reshape(rgb.shape[:2])
            segmented, masks = output_paths(share.out, source, share.k)
            indexed = Image.fromarray(labels)
            indexed.putpalette(model.cluster_centers_.round().astype(np.uint8).tobytes())
            indexed.save(segmented, compress_level=1)
            for number, path in enumerate(masks):
                Image.fromarray(labels == number).save(path, compress_level=1)

    return work
