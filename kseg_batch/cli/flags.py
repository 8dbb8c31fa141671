"""Flags that several commands share. The commands themselves have the defaults of the flags."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import typer

from kseg_batch.cli.help import BACKEND, BATCH, CLUSTERS, INPUT, MESSAGES
from kseg_batch.cli.values import choice_flag, number, whole_number

Alpha = Literal["keep", "ignore"]
"""Treatments of transparent pixels."""
ProfileUse = Literal["convert", "ignore"]
"""Treatments of colour profiles."""
Init = Literal["k-means++", "random"]
"""Choices of the initial centres."""
Space = Literal["rgb", "lab", "oklab"]
"""Colour spaces to cluster in. Spelt out here, so that the help needs no import of NumPy."""

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SRC...",
        help="Image files, and folders, which are searched with all their subfolders.",
        rich_help_panel=INPUT,
    ),
]
IncludeFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="GLOB",
        help="Take files that match, in place of files with a known extension; repeatable.",
        rich_help_panel=INPUT,
    ),
]
ExcludeFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        help="Pass over files and folders that match; repeatable.",
        rich_help_panel=INPUT,
    ),
]
AlphaFlag = Annotated[
    Alpha,
    choice_flag(
        "--alpha",
        get_args(Alpha),
        "Keep transparent pixels transparent, in no cluster; or ignore transparency.",
        INPUT,
    ),
]
ProfileFlag = Annotated[
    ProfileUse,
    choice_flag(
        "--profile",
        get_args(ProfileUse),
        "Convert colours to sRGB by the profile of the image; or take the numbers as they are.",
        INPUT,
    ),
]
MaxPixelsFlag = Annotated[
    str,
    typer.Option(
        "--max-pixels",
        metavar="PIXELS",
        help="Refuse larger images before they are decoded.",
        rich_help_panel=INPUT,
    ),
]

AttemptsFlag = Annotated[
    int,
    typer.Option(
        "--attempts",
        parser=whole_number,
        metavar="N",
        help="Number of k-means starts; the best one is kept.",
        rich_help_panel=CLUSTERS,
    ),
]
MaxIterFlag = Annotated[
    int,
    typer.Option(
        "--max-iter",
        parser=whole_number,
        metavar="N",
        help="Most iterations of Lloyd's algorithm.",
        rich_help_panel=CLUSTERS,
    ),
]
EpsFlag = Annotated[
    float,
    typer.Option(
        "--eps",
        parser=number,
        metavar="LEVELS",
        help="Stop when no centre moves by more than this many grey levels.",
        rich_help_panel=CLUSTERS,
    ),
]
SeedFlag = Annotated[
    int,
    typer.Option(
        "--seed",
        parser=whole_number,
        metavar="N",
        help="Seed of the random number generator.",
        rich_help_panel=CLUSTERS,
    ),
]
InitFlag = Annotated[
    Init | None,
    choice_flag(
        "--init",
        get_args(Init),
        "Choice of the initial centres; random needs the opencv backend.  [default: the backend's own]",
        CLUSTERS,
    ),
]
ColorSpaceFlag = Annotated[
    Space,
    choice_flag(
        "--color-space",
        get_args(Space),
        "Colour space in which distances are measured.",
        CLUSTERS,
    ),
]
SmoothFlag = Annotated[
    int,
    typer.Option(
        "--smooth",
        parser=whole_number,
        metavar="PIXELS",
        help="Radius of a majority filter over the labels, up to 7; 0 for none.",
        rich_help_panel=CLUSTERS,
    ),
]
MinRegionFlag = Annotated[
    int,
    typer.Option(
        "--min-region",
        parser=whole_number,
        metavar="PIXELS",
        help="Give regions of fewer pixels the label of their surroundings.",
        rich_help_panel=CLUSTERS,
    ),
]

GpuFlag = Annotated[
    bool | None,
    typer.Option("--gpu/--no-gpu", help="Prefer a GPU, or use the CPU only.", rich_help_panel=BACKEND),
]
RequireGpuFlag = Annotated[
    bool, typer.Option("--require-gpu", help="Fail if no GPU can be used.", rich_help_panel=BACKEND)
]
BackendFlag = Annotated[
    str,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="Backend: auto, cupy, numba-cuda, numba or opencv.",
        rich_help_panel=BACKEND,
    ),
]

WorkersFlag = Annotated[
    int | None,
    typer.Option(
        "--workers",
        parser=whole_number,
        metavar="N",
        help="CPU worker processes.  [default: one per core]",
        rich_help_panel=BATCH,
    ),
]
TimeoutFlag = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        parser=number,
        metavar="SECONDS",
        help="Longest time for an image.  [default: no limit]",
        rich_help_panel=BATCH,
    ),
]

AsJsonFlag = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object per image, and a summary.", rich_help_panel=MESSAGES),
]
QuietFlag = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but failures.", rich_help_panel=MESSAGES)
]
