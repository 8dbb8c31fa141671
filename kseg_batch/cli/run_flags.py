"""The flags of `run` that no other command has. The command has their defaults."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from kseg_batch.cli.config import read_config


class SaveKind(StrEnum):
    """Kinds of output."""

    segmented = "segmented"
    masks = "masks"
    labels = "labels"
    masked = "masked"
    kept = "kept"
    coco = "coco"


OutFlag = Annotated[
    str | None,
    typer.Option("--out", "-o", help="Output folder.  [default: SRC-kseg, beside SRC]"),
]
KFlag = Annotated[
    str,
    typer.Option(
        "--k",
        "-k",
        metavar="N|auto[:LOW-HIGH]",
        help="Number of clusters, 1 to 256; auto chooses the number for each image.",
    ),
]
PaletteSourceFlag = Annotated[
    str | None,
    typer.Option(
        "--palette",
        help="Palette whose colours are the clusters of all images: a file of kseg-batch fit, a GIMP "
        "palette, a list of hexadecimal colours, or '#112233,#aabbcc'.",
    ),
]
SaveKindsFlag = Annotated[
    list[SaveKind] | None,
    typer.Option("--save", help="Kind of output; repeatable.  [default: segmented, masks]"),
]
DisableFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--disable",
        metavar="CLUSTER",
        help="Cluster to black out in the photo: its number, its name, or a colour such as green or "
        "#2e8b57; repeatable. Implies --save masked.",
    ),
]
KeepFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        metavar="CLUSTER",
        help="Cluster to show while all others are black; otherwise as --disable.",
    ),
]
ToleranceFlag = Annotated[
    float,
    typer.Option("--tolerance", help="Largest Delta E between a colour and the cluster it selects."),
]
OverwriteFlag = Annotated[
    bool, typer.Option("--overwrite", help="Process images again that are done already.")
]
RetryFailedFlag = Annotated[
    bool, typer.Option("--retry-failed", help="Process only images that failed before.")
]
ChecksumFlag = Annotated[
    bool,
    typer.Option("--checksum", help="Detect changed images by content, not by size and time."),
]
DryRunFlag = Annotated[
    bool,
    typer.Option("--dry-run", help="Print which images would be processed, and why; write nothing."),
]
DevicesFlag = Annotated[
    str | None,
    typer.Option("--device", help="GPUs to use, such as 0,1 or all; implies --gpu.  [default: 0]"),
]
GpuMemoryFlag = Annotated[
    str | None,
    typer.Option(
        "--gpu-memory", help="Most GPU memory to use, such as 4G.  [default: 4/5 of the free memory]"
    ),
]
FullNamesFlag = Annotated[
    bool, typer.Option("--full-names", help="Keep the extension in output names: a.jpg.png.")
]
LogFileFlag = Annotated[
    str | None, typer.Option("--log-file", help="Log file, to which a line per image is appended.")
]
ConfigFlag = Annotated[
    str | None,
    typer.Option(
        "--config",
        callback=read_config,
        is_eager=True,
        help="TOML file with flags.  [default: [tool.kseg-batch] in ./pyproject.toml]",
    ),
]
