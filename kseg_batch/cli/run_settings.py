"""From the flags of `run` to settings: defaults, implications and contradictions of flags."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kseg_batch.backends.gpu.options import GpuOptions
from kseg_batch.batch.storage.outputs import BY_SELECTION
from kseg_batch.cli.parsing import parse_bytes, parse_devices, parse_kinds, refuse_contradiction
from kseg_batch.console import print_message
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
"""Flags that say how clusters are found. They contradict `--palette`, which gives the clusters."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """The source of an image's clusters: clustering, or a palette."""

    options: FitOptions
    """How to cluster. With a palette, k and the colour space are those of the palette."""
    k_range: KRange | None
    """The numbers of clusters to choose from; None where `options.k` is the number."""
    palette: Palette | None
    """The clusters of all images; None to find the clusters of each image."""

    def select(self, disable: list[str] | None, keep: list[str] | None, tolerance: float) -> ClusterSelection:
        """Return the selection of clusters that `--disable`, `--keep` and `--tolerance` make."""
        names = () if self.palette is None else self.palette.names
        return ClusterSelection.parse(disable or (), keep or None, tolerance, k=self.options.k, names=names)


@dataclass(frozen=True, slots=True)
class GpuChoice:
    """The backend and the GPUs that the flags ask for."""

    backend: str
    """Name of the backend, or auto."""
    preferred: bool | None
    """True to prefer a GPU, False to use none, None for no preference."""
    required: bool
    """Whether to fail if no GPU can be used."""
    devices: tuple[int, ...] | None
    """The CUDA numbers of the GPUs; None for all."""
    options: GpuOptions
    """How much of each GPU to use."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run as the flags ask for."""

    sources: list[Path]
    scan: Scan
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
    """Whether to print nothing but failures."""
    log_file: Path | None
    """The log file; None for no log."""


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
    """Return the source of the clusters: the palette, or clustering by the other flags.

    Raises:
        OptionError: A flag is out of range, or contradicts `--palette`.
    """
    max_k, k_range = parse_k(k)
    options = FitOptions(max_k, attempts, max_iter, eps, seed, init, color_space)  # type: ignore[arg-type] # checked there
    if palette is None:
        return Clusters(options, k_range, None)
    fixed = _read_palette(palette, context)
    return Clusters(FitOptions(len(fixed.counts), color_space=fixed.color_space), None, fixed)


def _read_palette(text: str, context: typer.Context) -> Palette:
    """Read the palette, and print its warnings on standard error.

    A palette on the command line overrides the flags in a file that say how clusters are found.

    Args:
        text: The value of `--palette`.
        context: The context of the command, which knows where each flag comes from.

    Raises:
        OptionError: The palette cannot be read, or another flag contradicts it.
    """
    origins = {
        name: getattr(context.get_parameter_source(name), "name", "") for name in ("palette", *FITTING)
    }
    for name in FITTING:
        if origins[name] in ("COMMANDLINE", origins["palette"]):
            flag = name.replace("_", "-")
            raise OptionError(f"--{flag} and --palette contradict each other: a palette has its clusters.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        palette = read_palette(text)
    for warning in caught:
        print_message(str(warning.message))
    return palette


def choose_outputs(save: list[str] | None, selection: ClusterSelection) -> frozenset[Save]:
    """Return the kinds of output to write.

    Raises:
        OptionError: A kind needs a selection of clusters, or a package that is not installed.
    """
    kinds = {*parse_kinds(save or ["segmented,masks"])}
    if selection.targets:
        kinds.add("masked")
    elif undefined := kinds & BY_SELECTION:
        raise OptionError(f"--save {min(undefined)} needs --disable or --keep, which select the clusters.")
    if "coco" in kinds:
        require_pycocotools()
    return frozenset(kinds)


def choose_gpus(
    backend: str, gpu: bool | None, *, require_gpu: bool, device: str | None, gpu_memory: str | None
) -> GpuChoice:
    """Return the backend and the GPUs that the flags ask for.

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
    """Return which images are processed again.

    Raises:
        OptionError: Both flags are given.
    """
    if overwrite and retry_failed:
        raise OptionError("--overwrite and --retry-failed contradict each other.")
    return "all" if overwrite else "failed" if retry_failed else "changed"
