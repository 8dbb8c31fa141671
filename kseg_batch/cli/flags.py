"""Flags that several commands have, each described once. Defaults stand with the commands."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class AlphaKind(StrEnum):
    """What becomes of transparent pixels."""

    keep = "keep"
    ignore = "ignore"


class Space(StrEnum):
    """Colour spaces to cluster in."""

    rgb = "rgb"
    lab = "lab"
    oklab = "oklab"


Sources = Annotated[
    list[str], typer.Argument(metavar="SRC", help="Folders, searched recursively, and files.")
]
Include = Annotated[
    list[str] | None,
    typer.Option("--include", help="Glob of files to take, in place of the extensions; repeatable."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", help="Glob of files and folders to pass over; repeatable."),
]
Alpha = Annotated[
    AlphaKind, typer.Option("--alpha", help="Leave transparent pixels out, or take the colours under them.")
]
MaxPixels = Annotated[str, typer.Option("--max-pixels", help="Refuse larger images before decoding them.")]

Workers = Annotated[
    int | None, typer.Option("--workers", help="Processes on the CPU.  [default: one per core]")
]
Timeout = Annotated[
    float | None, typer.Option("--timeout", help="Seconds that an image may take.  [default: any]")
]
Gpu = Annotated[bool | None, typer.Option("--gpu/--no-gpu", help="Use a GPU if there is one, or do not.")]
RequireGpu = Annotated[bool, typer.Option("--require-gpu", help="Fail where there is no GPU.")]
Backend = Annotated[
    str, typer.Option("--backend", help="What clusters: auto, cupy, numba-cuda, numba or opencv.")
]

Attempts = Annotated[int, typer.Option("--attempts", help="Starts, of which the best is kept.")]
MaxIter = Annotated[int, typer.Option("--max-iter", help="Most iterations.")]
Eps = Annotated[float, typer.Option("--eps", help="Stop when no centre moved by more grey levels.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the random numbers.")]
Init = Annotated[str | None, typer.Option("--init", help="k-means++, or random with the opencv backend.")]
ColorSpace = Annotated[
    Space, typer.Option("--color-space", help="Where distances between colours are measured.")
]
Smooth = Annotated[
    int, typer.Option("--smooth", help="Radius of a majority filter over the labels, 0 to 7 pixels.")
]
MinRegion = Annotated[
    int,
    typer.Option("--min-region", help="Give regions of fewer pixels the label of their surroundings."),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per image, and a summary.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but failures.")]


class SaveKind(StrEnum):
    """Kinds of output."""

    segmented = "segmented"
    masks = "masks"
    labels = "labels"
    masked = "masked"
    kept = "kept"
    coco = "coco"
