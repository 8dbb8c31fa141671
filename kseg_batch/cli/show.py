"""`kseg-batch show`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kseg_batch.cli.backend import choose_backend
from kseg_batch.cli.exit_codes import exit_with_message
from kseg_batch.cli.flags import (
    Alpha,
    AlphaKind,
    Attempts,
    Backend,
    ColorSpace,
    Eps,
    Gpu,
    Init,
    MaxIter,
    MaxPixels,
    MinRegion,
    Seed,
    Smooth,
    Space,
)

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
    alpha: Alpha = AlphaKind.keep,
    max_pixels: MaxPixels = "200M",
    gpu: Gpu = None,
    backend: Backend = "auto",
    attempts: Attempts = 10,
    max_iter: MaxIter = 100,
    eps: Eps = 0.2,
    seed: Seed = 0,
    init: Init = None,
    color_space: ColorSpace = Space.rgb,
    smooth: Smooth = 0,
    min_region: MinRegion = 0,
) -> None:
    """Show a photo, its segmentation and each cluster alone; or several numbers of clusters, to choose."""
    from kseg_batch.backends.registry import choose
    from kseg_batch.batch.storage.scan import Job
    from kseg_batch.batch.workers.jobs import Settings
    from kseg_batch.batch.workers.load_image import load_image
    from kseg_batch.cli.parsing import parse_k_list, parse_pixels
    from kseg_batch.errors import count
    from kseg_batch.images.decode import prepare_process
    from kseg_batch.kmeans.options import FitOptions, RegionOptions, parse_k
    from kseg_batch.segmentation.regions import load_cleaner
    from kseg_batch.show import output
    from kseg_batch.show.figure import check, divide, draw

    path, target = Path(image), None if save is None else Path(save)
    with exit_with_message(image=path):
        most, k_range = parse_k(k) if k.startswith("auto") else (None, None)
        numbers = parse_k_list(k) if most is None else (most,)
        check(numbers)
        regions = RegionOptions(smooth, min_region)
        options = FitOptions(numbers[-1], attempts, max_iter, eps, seed, init, color_space.value)  # type: ignore[arg-type] # checked there
        limit = parse_pixels(max_pixels)
        settings = Settings(Path(), options, frozenset(), alpha=alpha.value, max_pixels=limit)
        output.check(dpi, target)
        figure = output.open_window(path.name, dpi) if target is None else output.empty(dpi)
        prepare_process()
        photo = load_image(Job(path, Path(path.name)), settings).photo
        choice = choose_backend(choose, backend, gpu, False, options)
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
            output.wait()
        else:
            output.save(figure, target)
            _say(f"written: {target}")


def _say(text: str) -> None:
    print(f"kseg-batch: {text}", file=sys.stderr)
