"""The flags of `run` that no other command has. The command has their defaults."""

from __future__ import annotations

from typing import Annotated

import typer

from kseg_batch.cli.config import read_config
from kseg_batch.cli.help import BACKEND, BATCH, CLUSTERS, INPUT, MESSAGES, OUTPUT
from kseg_batch.cli.values import number


def complete_kind() -> list[str]:
    """Return the kinds of output, for the completion of `--save`."""
    from kseg_batch.batch.storage.outputs import KINDS  # not for the help, which needs no NumPy

    return [*KINDS]


OutFlag = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="PATH",
        help="Output folder.  [default: SRC-kseg, beside SRC]",
        rich_help_panel=OUTPUT,
    ),
]
SaveKindsFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--save",
        metavar="KIND[,KIND...]",
        autocompletion=complete_kind,
        help="Kinds of output: segmented, masks, labels, coco; and with --disable or --keep also masked, "
        "kept; repeatable.  [default: segmented,masks]",
        rich_help_panel=OUTPUT,
    ),
]
DisableFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--disable",
        metavar="CLUSTER",
        help="Cluster to black out in the photo: its number, its name, or a colour such as green or "
        "#2e8b57; repeatable. Implies --save masked.",
        rich_help_panel=OUTPUT,
    ),
]
KeepFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        metavar="CLUSTER",
        help="Cluster to show, all others black; otherwise as --disable.",
        rich_help_panel=OUTPUT,
    ),
]
ToleranceFlag = Annotated[
    float,
    typer.Option(
        "--tolerance",
        parser=number,
        metavar="DELTA_E",
        help="Largest distance between a colour and the cluster it selects, 0 to about 100.",
        rich_help_panel=OUTPUT,
    ),
]
FullNamesFlag = Annotated[
    bool,
    typer.Option(
        "--full-names", help="Keep the extension in output names: a.jpg.png.", rich_help_panel=OUTPUT
    ),
]

KFlag = Annotated[
    str,
    typer.Option(
        "--k",
        "-k",
        metavar="N|auto[:LOW-HIGH]",
        help="Number of clusters, 1 to 256; auto chooses the number for each image.",
        rich_help_panel=CLUSTERS,
    ),
]
PaletteSourceFlag = Annotated[
    str | None,
    typer.Option(
        "--palette",
        metavar="PATH|COLOURS",
        help="Palette whose colours are the clusters of all images: a file of kseg-batch fit, a GIMP "
        "palette, a list of hexadecimal colours, or '#112233,#aabbcc'.",
        rich_help_panel=CLUSTERS,
    ),
]

DevicesFlag = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="N[,N...]|all",
        help="GPUs to use; implies --gpu.  [default: 0]",
        rich_help_panel=BACKEND,
    ),
]
GpuMemoryFlag = Annotated[
    str | None,
    typer.Option(
        "--gpu-memory",
        metavar="SIZE",
        help="Most GPU memory to use, such as 4G.  [default: 4/5 of the free memory]",
        rich_help_panel=BACKEND,
    ),
]

OverwriteFlag = Annotated[
    bool,
    typer.Option("--overwrite", help="Process images again that are done already.", rich_help_panel=BATCH),
]
RetryFailedFlag = Annotated[
    bool,
    typer.Option("--retry-failed", help="Process only images that failed before.", rich_help_panel=BATCH),
]
ChecksumFlag = Annotated[
    bool,
    typer.Option(
        "--checksum",
        help="Detect changed images by content, not by size and time.",
        rich_help_panel=BATCH,
    ),
]
DryRunFlag = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print which images would be processed, and why; write nothing.",
        rich_help_panel=BATCH,
    ),
]
ConfigFlag = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="PATH",
        callback=read_config,
        is_eager=True,
        help="TOML file with flags.  [default: ./pyproject.toml, if it has any]",
        rich_help_panel=INPUT,
    ),
]

LogFileFlag = Annotated[
    str | None,
    typer.Option(
        "--log-file",
        metavar="PATH",
        help="Log file, to which a line per image is appended.",
        rich_help_panel=MESSAGES,
    ),
]
