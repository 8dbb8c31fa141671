"""From the flags of `run` to settings: what flags imply, and which flags contradict each other."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kseg_batch.backends.gpu.options import GpuOptions
from kseg_batch.batch.storage.outputs import BY_SELECTION
from kseg_batch.cli.flags import SaveKind
from kseg_batch.cli.parsing import parse_bytes, parse_devices, refuse_contradiction
from kseg_batch.errors import OptionError
from kseg_batch.images.coco import require_pycocotools
from kseg_batch.kmeans.options import FitOptions, KRange, parse_k
from kseg_batch.kmeans.palette_files import read_palette
from kseg_batch.segmentation.cluster_selection import ClusterSelection

if TYPE_CHECKING:
    from pathlib import Path

    import typer

    from kseg_batch.batch.plan import Redo
    from kseg_batch.batch.storage.outputs import Save
    from kseg_batch.batch.storage.scan import Scan
    from kseg_batch.batch.workers.jobs import Limits, Settings
    from kseg_batch.kmeans.palette import Palette

FITTING = ("k", "attempts", "max_iter", "eps", "seed", "init", "color_space")
"""Flags that say how clusters are found, where none are given."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """Where the clusters of an image come from."""

    options: FitOptions
    """How to find clusters; with a palette, its number of clusters and its colour space."""
    k_range: KRange | None
    """The numbers of clusters to choose from; None where the number is given."""
    palette: Palette | None
    """The clusters of all images, in place of their own."""

    def select(self, disable: list[str] | None, keep: list[str] | None, tolerance: float) -> ClusterSelection:
        """Return the clusters to show that `--disable` or `--keep` name."""
        names = () if self.palette is None else self.palette.names
        return ClusterSelection.parse(disable or (), keep or None, tolerance, k=self.options.k, names=names)


@dataclass(frozen=True, slots=True)
class GpuChoice:
    """Which backend, and which GPUs, are asked for."""

    backend: str
    """The name of a backend, or auto."""
    preferred: bool | None
    """Whether a GPU is preferred; None for either."""
    required: bool
    """Whether nothing but a GPU will do."""
    devices: tuple[int, ...] | None
    """The CUDA numbers of the GPUs; None for all."""
    options: GpuOptions
    """How much of each GPU to use."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a run is asked to do."""

    sources: list[Path]
    found: Scan
    """The images in the sources."""
    settings: Settings
    limits: Limits
    gpus: GpuChoice
    redo: Redo
    dry_run: bool
    """Whether to print the plan, and write nothing."""
    as_json: bool
    """Whether standard output gets JSON."""
    quiet: bool
    """Whether nothing but failures is printed."""
    log_file: Path | None
    """The file that gets a line for every image."""


def choose_clusters(
    context: typer.Context,
    palette: str | None,
    *,
    k: str,
    attempts: int,
    max_iter: int,
    eps: float,
    seed: int,
    init: str | None,
    color_space: str,
) -> Clusters:
    """Return where the clusters come from: from a palette, or from each image by the other flags.

    Raises:
        OptionError: A flag is out of range, or contradicts `--palette`.
    """
    most, k_range = parse_k(k)
    options = FitOptions(most, attempts, max_iter, eps, seed, init, color_space)  # type: ignore[arg-type] # checked there
    if palette is None:
        return Clusters(options, k_range, None)
    given = _read_palette(palette, context)
    return Clusters(FitOptions(len(given.counts), color_space=given.color_space), None, given)


def _read_palette(text: str, context: typer.Context) -> Palette:
    """Read the palette, and print its warnings on standard error.

    Flags that say how to find clusters contradict a palette, but for those in a file if the palette is on the
    command line.
    """
    places = {name: getattr(context.get_parameter_source(name), "name", "") for name in ("palette", *FITTING)}
    for name in FITTING:
        if places[name] in ("COMMANDLINE", places["palette"]):
            flag = name.replace("_", "-")
            raise OptionError(f"--{flag} and --palette contradict each other: a palette has its clusters.")
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        palette = read_palette(text)
    for note in notes:
        print(f"kseg-batch: {note.message}", file=sys.stderr)
    return palette


def choose_outputs(save: list[SaveKind] | None, selection: ClusterSelection) -> frozenset[Save]:
    """Return the kinds of output to write.

    Raises:
        OptionError: A kind needs a selection of clusters or a package, and there is none.
    """
    kinds: set[Save] = {kind.value for kind in save or (SaveKind.segmented, SaveKind.masks)}
    if selection.targets:
        kinds.add("masked")
    elif unclear := kinds & BY_SELECTION:
        raise OptionError(f"--save {min(unclear)} needs --disable or --keep: which clusters does it show?")
    if "coco" in kinds:
        require_pycocotools()
    return frozenset(kinds)


def choose_gpus(
    backend: str, gpu: bool | None, *, require_gpu: bool, device: str | None, gpu_memory: str | None
) -> GpuChoice:
    """Return which backend and which GPUs are asked for.

    Raises:
        OptionError: A flag is out of range, or two flags contradict each other.
    """
    devices = (0,) if device is None else parse_devices(device)
    options = GpuOptions(memory=None if gpu_memory is None else parse_bytes(gpu_memory))
    if gpu is False and not (device is None and gpu_memory is None):
        raise OptionError("--no-gpu contradicts --device and --gpu-memory.")
    refuse_contradiction(gpu, require_gpu=require_gpu)
    return GpuChoice(backend, gpu if device is None else True, require_gpu, devices, options)


def choose_redo(*, overwrite: bool, retry_failed: bool) -> Redo:
    """Return which images are done again.

    Raises:
        OptionError: Both flags are given.
    """
    if overwrite and retry_failed:
        raise OptionError("--overwrite and --retry-failed contradict each other.")
    return "all" if overwrite else "failed" if retry_failed else "changed"
