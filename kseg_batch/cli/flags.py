"""Flags that several commands share. The commands themselves have the defaults of the flags."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class AlphaKind(StrEnum):
    """Treatments of transparent pixels."""

    keep = "keep"
    ignore = "ignore"


class Space(StrEnum):
    """Colour spaces to cluster in."""

    rgb = "rgb"
    lab = "lab"
    oklab = "oklab"


Sources = Annotated[
    list[str], typer.Argument(metavar="SRC", help="Image files, and folders, searched recursively.")
]
IncludeFlag = Annotated[
    list[str] | None,
    typer.Option("--include", help="Glob of image files, in place of the extensions; repeatable."),
]
ExcludeFlag = Annotated[
    list[str] | None,
    typer.Option("--exclude", help="Glob of files and folders to pass over; repeatable."),
]
AlphaFlag = Annotated[
    AlphaKind,
    typer.Option("--alpha", help="keep leaves transparent pixels out; ignore takes the colours under them."),
]
MaxPixelsFlag = Annotated[
    str,
    typer.Option("--max-pixels", help="Most pixels of an image; larger ones fail before they are decoded."),
]

WorkersFlag = Annotated[
    int | None, typer.Option("--workers", help="CPU worker processes.  [default: one per core]")
]
TimeoutFlag = Annotated[
    float | None, typer.Option("--timeout", help="Seconds that an image may take.  [default: no limit]")
]
GpuFlag = Annotated[bool | None, typer.Option("--gpu/--no-gpu", help="Prefer a GPU, or use the CPU only.")]
RequireGpuFlag = Annotated[bool, typer.Option("--require-gpu", help="Fail if no GPU can be used.")]
BackendFlag = Annotated[
    str, typer.Option("--backend", help="Backend: auto, cupy, numba-cuda, numba or opencv.")
]

AttemptsFlag = Annotated[
    int, typer.Option("--attempts", help="Number of k-means starts; the best one is kept.")
]
MaxIterFlag = Annotated[int, typer.Option("--max-iter", help="Most iterations of Lloyd's algorithm.")]
EpsFlag = Annotated[
    float, typer.Option("--eps", help="Stop when no centre moves by more than this, in grey levels.")
]
SeedFlag = Annotated[int, typer.Option("--seed", help="Seed of the random number generator.")]
InitFlag = Annotated[
    str | None, typer.Option("--init", help="Initial centres: k-means++, or random with opencv.")
]
ColorSpaceFlag = Annotated[
    Space, typer.Option("--color-space", help="Colour space in which distances are measured.")
]
SmoothFlag = Annotated[
    int, typer.Option("--smooth", help="Radius of the majority filter over the labels, 0 to 7 pixels.")
]
MinRegionFlag = Annotated[
    int,
    typer.Option("--min-region", help="Give regions of fewer pixels the label of their surroundings."),
]

AsJsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object per image, and a summary.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but failures.")]
