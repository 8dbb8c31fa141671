"""`kseg-batch show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kseg_batch.cli.backend import choose_backend
from kseg_batch.cli.exit_codes import exit_with_message
from kseg_batch.cli.flags import (
    AlphaFlag,
    AttemptsFlag,
    BackendFlag,
    ColorSpaceFlag,
    EpsFlag,
    GpuFlag,
    InitFlag,
    MaxIterFlag,
    MaxPixelsFlag,
    MinRegionFlag,
    ProfileFlag,
    SeedFlag,
    SmoothFlag,
)
from kseg_batch.cli.help import CLUSTERS, INPUT, OUTPUT
from kseg_batch.cli.values import whole_number
from kseg_batch.console import compiling_message, print_message

if TYPE_CHECKING:
    from kseg_batch.backends.base import Backend
    from kseg_batch.cli.flags import Alpha, ProfileUse
    from kseg_batch.images.decode import Photo
    from kseg_batch.kmeans.options import RegionOptions
    from kseg_batch.segmentation.segment import Segmentation

WINDOW_OVERSAMPLING = 3
"""Pixels of an image for each pixel of the window, along each axis, which show when an image is enlarged."""


def show(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Image file to show.", rich_help_panel=INPUT)],
    k: Annotated[
        str,
        typer.Option(
            "--k",
            "-k",
            metavar="N[,N...]|auto[:LOW-HIGH]",
            help="Number of clusters, 1 to 256; several numbers, to compare them; or auto, to choose the "
            "number by the photo.",
            rich_help_panel=CLUSTERS,
        ),
    ] = "3",
    save: Annotated[
        str | None,
        typer.Option(
            "--save",
            metavar="PATH",
            help="Write the figure to a .png, .svg or .pdf file, and open no window.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    dpi: Annotated[
        int,
        typer.Option(
            "--dpi",
            parser=whole_number,
            metavar="N",
            help="Pixels per inch of the figure, which is 12 x 7.5 inches at most.",
            rich_help_panel=OUTPUT,
        ),
    ] = 100,
    alpha: AlphaFlag = "keep",
    profile: ProfileFlag = "convert",
    max_pixels: MaxPixelsFlag = "200M",
    gpu: GpuFlag = None,
    backend: BackendFlag = "auto",
    attempts: AttemptsFlag = 10,
    max_iter: MaxIterFlag = 100,
    eps: EpsFlag = 0.2,
    seed: SeedFlag = 0,
    init: InitFlag = None,
    color_space: ColorSpaceFlag = "rgb",
    smooth: SmoothFlag = 0,
    min_region: MinRegionFlag = 0,
) -> None:
    """Draw a photo and its clusters, or compare numbers of clusters."""
    from kseg_batch.backends.registry import choose
    from kseg_batch.cli.parsing import parse_k_list, parse_pixels
    from kseg_batch.images.decode import prepare_process
    from kseg_batch.kmeans.options import FitOptions, RegionOptions, parse_k
    from kseg_batch.show import output
    from kseg_batch.show.figure import check_number_of_ks, draw, segment_photo

    path, target = Path(image), None if save is None else Path(save)
    with exit_with_message(image=path):
        max_k, k_range = parse_k(k) if k.startswith("auto") else (None, None)
        ks = parse_k_list(k) if max_k is None else (max_k,)
        check_number_of_ks(ks)
        regions = RegionOptions(smooth, min_region)
        options = FitOptions(ks[-1], attempts, max_iter, eps, seed, init, color_space)
        pixel_limit = parse_pixels(max_pixels)
        output.check_output(dpi, target)
        figure = output.open_window(path.name, dpi) if target is None else output.create_figure(dpi)
        prepare_process()
        photo = _load_photo(path, alpha, profile, pixel_limit)
        choice = choose_backend(choose, backend, gpu, False, options)
        _warm_up(choice.backend, regions)
        segmentations = list(segment_photo(photo, choice.backend, options, ks, k_range, regions))
        expected_k = k_range.low if k_range else ks[-1]
        _print_notes(path, photo, segmentations[-1].segmentation, expected_k)
        draw(figure, photo, segmentations, oversampling=WINDOW_OVERSAMPLING if target is None else 1)
        if target is None:
            output.show_windows()
        else:
            output.save_figure(figure, target)
            print_message(f"written: {target}")


def _load_photo(path: Path, alpha: Alpha, profile: ProfileUse, max_pixels: int) -> Photo:
    """Decode the photo as `run` does.

    Raises:
        ImageError: The file is unreadable or too large.
    """
    from kseg_batch.batch.storage.source import read_source
    from kseg_batch.images.decode import decode

    data, _ = read_source(path, max_pixels=max_pixels, checksum=False)
    return decode(data, max_pixels=max_pixels, alpha=alpha, profile=profile)


def _warm_up(backend: Backend, regions: RegionOptions) -> None:
    """Compile the kernels that are not compiled yet, and print a line that says so."""
    from kseg_batch.segmentation.regions import load_cleaner

    for kernels in (backend, *((load_cleaner(),) if regions else ())):
        if not kernels.compiled:
            print_message(compiling_message("the figure"))
            kernels.warm_up()


def _print_notes(path: Path, photo: Photo, segmentation: Segmentation, expected_k: int) -> None:
    """Print the decoder's notes, and whether the photo has fewer colours than the expected clusters."""
    from kseg_batch.segmentation.select_k import note_on_fewer

    for note in (*photo.notes, note_on_fewer(segmentation.palette, expected_k)):
        if note is not None:
            print_message(f"{path}: {note}")
