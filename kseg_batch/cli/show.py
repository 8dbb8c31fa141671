"""`kseg-batch show`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kseg_batch.cli.common import EXIT_INTERRUPTED, EXIT_NOTHING_DONE, EXIT_USAGE, choose_backend, fail
from kseg_batch.cli.run import AlphaKind, Space

ENLARGED = 3
"""Pixels of a picture for one of a window, each way, so that there is more to see where it is enlarged."""


def show(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image file.")],
    k: Annotated[
        str,
        typer.Option("--k", "-k", help="Clusters, 1 to 256; several such as 2,3,4,5, to compare; or auto."),
    ] = "3",
    save: Annotated[
        str | None,
        typer.Option("--save", metavar="FILE", help="Write a .png, .svg or .pdf; open no window."),
    ] = None,
    dpi: Annotated[
        int, typer.Option("--dpi", help="Pixels for an inch of the figure, which has 12 by 7.5 at most.")
    ] = 100,
    alpha: Annotated[
        AlphaKind, typer.Option("--alpha", help="Keep transparent pixels so, or take the colours under them.")
    ] = AlphaKind.keep,
    max_pixels: Annotated[
        str, typer.Option("--max-pixels", help="Refuse a larger image before decoding it.")
    ] = "200M",
    gpu: Annotated[
        bool | None, typer.Option("--gpu/--no-gpu", help="Use a GPU if there is one, or do not.")
    ] = None,
    backend: Annotated[
        str, typer.Option("--backend", help="auto, cupy, numba-cuda, numba or opencv.")
    ] = "auto",
    attempts: Annotated[int, typer.Option("--attempts", help="Starts, of which the best is kept.")] = 10,
    max_iter: Annotated[int, typer.Option("--max-iter", help="Most iterations.")] = 100,
    eps: Annotated[float, typer.Option("--eps", help="Stop when no centre moved by more grey levels.")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", help="Of the random numbers.")] = 0,
    init: Annotated[
        str | None, typer.Option("--init", help="k-means++, or random with the opencv backend.")
    ] = None,
    color_space: Annotated[
        Space, typer.Option("--color-space", help="Where distances between colours are measured.")
    ] = Space.rgb,
    smooth: Annotated[
        int, typer.Option("--smooth", help="Radius of a majority filter over the labels, 0 to 7 pixels.")
    ] = 0,
    min_region: Annotated[
        int,
        typer.Option("--min-region", help="Give regions of fewer pixels the label of their surroundings."),
    ] = 0,
) -> None:
    """Show a photo, its segmentation and each cluster alone; or several numbers of clusters, to choose."""
    from kseg_batch import figures
    from kseg_batch.decoding import prepare_process
    from kseg_batch.errors import BackendUnavailableError, OptionError, OutputError
    from kseg_batch.options import (
        FitOptions,
        GpuOptions,
        RegionOptions,
        parse_k,
        parse_k_list,
        parse_pixels,
    )
    from kseg_batch.regions import load_cleaner
    from kseg_batch.scan import Job, count
    from kseg_batch.show import check, divide, draw
    from kseg_batch.worker import FAILURES, Settings, read

    path, target = Path(image), None if save is None else Path(save)
    try:
        most, k_range = parse_k(k) if k.startswith("auto") else (None, None)
        numbers = parse_k_list(k) if most is None else (most,)
        check(numbers)
        regions = RegionOptions(smooth, min_region)
        options = FitOptions(numbers[-1], attempts, max_iter, eps, seed, init, color_space.value)  # type: ignore[arg-type] # checked there
        limit = parse_pixels(max_pixels)
        settings = Settings(Path(), options, frozenset(), alpha=alpha.value, max_pixels=limit)
        figures.check(dpi, target)
        figure = figures.open_window(path.name, dpi) if target is None else figures.empty(dpi)
        prepare_process()
        photo = read(Job(path, Path(path.name)), settings).photo
        choice = choose_backend(backend, gpu, False, options, GpuOptions())
        for kernels in (choice.backend, *((load_cleaner(),) if regions else ())):
            if not kernels.compiled:
                _say("the kernels are not compiled yet: this waits for it, once")
                kernels.warm_up()
        ways = list(divide(photo, choice.backend, options, numbers, k_range, regions))
        for note in photo.notes:
            _say(f"{path}: {note}")
        if (n := len(ways[-1].palette.counts)) < (k_range.low if k_range else numbers[-1]):
            _say(f"{path}: it has {count(n, 'colour')}, so as many clusters")
        draw(figure, photo, ways, detail=ENLARGED if target is None else 1)
        if target is None:
            figures.wait()
        else:
            figures.save(figure, target)
            _say(f"written: {target}")
    except (OptionError, BackendUnavailableError) as error:
        fail(str(error), EXIT_USAGE)
    except OutputError as error:
        fail(str(error), EXIT_NOTHING_DONE)
    except FAILURES as error:
        fail(f"{path}: {str(error) or 'there is not enough memory for it'}", EXIT_NOTHING_DONE)
    except KeyboardInterrupt:
        fail("interrupted", EXIT_INTERRUPTED)


def _say(text: str) -> None:
    print(f"kseg-batch: {text}", file=sys.stderr)
