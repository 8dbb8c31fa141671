"""The clusters of an image as a COCO dataset, with masks encoded by pycocotools."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.errors import OptionError

if TYPE_CHECKING:
    from kseg_batch.images.label_map import LabelMap
    from kseg_batch.kmeans.palette import Palette

HEAD = {"info": {"description": "Colour clusters by kseg-batch"}, "licenses": []}
"""First keys of a dataset. There is no date, so that the same images give the same bytes."""


def require_pycocotools() -> None:
    """Raise an OptionError if pycocotools, which encodes the masks, cannot be imported."""
    try:
        import pycocotools.mask  # noqa: F401
    except ImportError as error:
        raise OptionError("--save coco needs pycocotools; to add it: pip install pycocotools") from error


def encode(file_name: str, labels: LabelMap, palette: Palette) -> bytes:
    """Return an image's dataset in JSON: a category for each cluster, an annotation for each with pixels.

    Args:
        file_name: Name of the image in the dataset.
        labels: The image's label map.
        palette: The clusters. Their names, or else their numbers, name the categories.
    """
    image = {
        "id": 1,
        "width": labels.width,
        "height": labels.height,
        "file_name": file_name,
    }
    k = len(palette.counts)
    names = palette.names or ("",) * k
    categories = [category(cluster, name) for cluster, name in enumerate(names)]
    dataset = {"images": [image], "annotations": _annotations(labels, k), "categories": categories}
    return json.dumps(HEAD | dataset).encode()


def category(cluster: int, name: str = "") -> dict[str, object]:
    """Return the category of a cluster. Its id is the number + 1, as some readers take 0 for background."""
    return {"id": cluster + 1, "name": name or f"cluster {cluster}", "supercategory": "cluster"}


def _annotations(labels: LabelMap, k: int) -> list[dict[str, object]]:
    """Return the annotations of an image with k clusters.

    pycocotools reads masks column by column. Encoding the clusters of a transposed map one by one takes a
    third of the time of encoding an (H, W, k) array, and the memory of one mask.
    """
    from pycocotools import mask

    columns = np.ascontiguousarray(labels.labels.T)  # (W, H) uint8
    annotations: list[dict[str, object]] = []
    for cluster in range(k):
        runs = mask.encode((columns == cluster).view("u1").T)
        if area := int(mask.area(runs)):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 1,
                    "category_id": cluster + 1,
                    "area": area,
                    "bbox": [int(number) for number in mask.toBbox(runs)],
                    "iscrowd": 0,
                    "segmentation": {"size": runs["size"], "counts": runs["counts"].decode("ascii")},
                }
            )
    return annotations
