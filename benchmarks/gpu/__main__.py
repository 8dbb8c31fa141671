"""The GPU backends measured: correctness first, then the times of batches, the peers, and whole runs.

python -m benchmarks.gpu [--backend cupy|numba-cuda] [--photos DIR] [--minutes 8] [--quick]

The most important comes first, and what is found is written after each section, so that a run that is cut
short has lost nothing. What fails is recorded with its reason, and the rest goes on.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu.peers import PEERS
from benchmarks.gpu.photos import Album, read_photos
from benchmarks.gpu.recording_device import gpu_facts, open_device
from benchmarks.gpu.report import Report, slug, targets
from benchmarks.gpu.sections import Benchmark, Settings
from benchmarks.photos import PhotosMissingError
from kseg_batch.backends import GPU_BACKENDS
from kseg_batch.bench.environment import environment
from kseg_batch.errors import BackendUnavailableError
from kseg_batch.machine import usable_cores

if TYPE_CHECKING:
    from benchmarks.gpu.photos import Size
    from benchmarks.gpu.recording_device import Opened

RESULTS = Path(__file__).parents[1] / "results"
WRONG, NO_GPU = 1, 2
"""Exit statuses."""

QUICK = Settings(
    sizes=((1920, 1080), (640, 480)),
    k=(3, 16),
    batches=(64, 1),
    repeats=8,
    seconds=0.5,
    check_seconds=5,
    minutes=4,
    peer_k=(3,),
    peer_seconds=45,
    images=128,
    runs=1,
    copy_bytes=1 << 30,
)


def benchmark(settings: Settings, opened: Opened, album: Album, report: Report) -> int:
    """Measure, print, write, and return the exit status."""
    report.content["settings"] = {**asdict(settings), "backend": opened.name, "photos": len(album.photos)}
    bench = Benchmark(settings, opened, album, report)
    bench.run()
    report.content["seconds"] = round(time.perf_counter() - bench.began, 1)
    report.save()
    print("", *(target.shown() for target in targets(report.content)), "", sep="\n")
    for name in report.content.get("skipped", []):
        print(f"no time was left for: {name}")
    print(f"written: {report.path}", flush=True)
    return WRONG if report.wrong or "oracle" not in report.content else 0


def parse() -> tuple[Settings, argparse.Namespace]:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--backend", choices=GPU_BACKENDS, help="default: the first that works")
    parser.add_argument("--json", metavar="FILE", type=Path, help="default: benchmarks/results/gpu-...json")
    parser.add_argument("--photos", metavar="DIR", type=Path, help="photos to take beside the packaged ones")
    parser.add_argument("--minutes", type=float, help="begin nothing later than this; default 8, quick 4")
    parser.add_argument("--quick", action="store_true", help="fewer configurations and repeats")
    parser.add_argument("--sizes", type=sizes, help="e.g. 1920x1080,640x480, the most important first")
    parser.add_argument("--k", type=integers, help="e.g. 3,16")
    parser.add_argument("--batches", type=integers, help="e.g. 64,1,8")
    parser.add_argument("--repeats", type=int, help="of every measurement")
    parser.add_argument("--images", type=int, help="of a run from end to end; 0 for none")
    parser.add_argument("--peers", type=names, help=f"of {','.join(PEERS)}; none for none")
    parser.add_argument("--commit", help="what was measured, where there is no git checkout to ask")
    given = parser.parse_args()
    choices = ("minutes", "sizes", "k", "batches", "repeats", "images", "peers")
    chosen = {name: getattr(given, name) for name in choices if getattr(given, name) is not None}
    base = asdict(QUICK if given.quick else Settings())
    return Settings(**{**base, **chosen}), given


def integers(text: str) -> tuple[int, ...]:
    """Numbers with commas between them."""
    return tuple(int(part) for part in text.split(","))


def sizes(text: str) -> tuple[Size, ...]:
    """WIDTHxHEIGHT, with commas between them."""
    found = [part.split("x") for part in text.split(",")]
    return tuple((int(width), int(height)) for width, height in found)


def names(text: str) -> tuple[str, ...]:
    """Peers with commas between them."""
    found = tuple(part for part in text.split(",") if part not in ("", "none"))
    if unknown := set(found) - PEERS.keys():
        raise argparse.ArgumentTypeError(f"there is no peer {', '.join(sorted(unknown))}")
    return found


def main() -> None:
    """Measure the GPU of this machine."""
    settings, given = parse()
    try:
        opened = open_device(given.backend)
    except BackendUnavailableError as error:
        print(f"benchmarks.gpu: there is no GPU to measure here: {error}.", file=sys.stderr)
        sys.exit(NO_GPU)
    facts: dict[str, Any] = {}
    where = {**environment(), "cores_usable": usable_cores(), "gpu": facts}
    if given.commit:
        where["git_commit"] = given.commit
    report = Report(Path(os.devnull), {"environment": where})
    try:
        facts |= gpu_facts()
    except (OSError, ValueError, AttributeError, TypeError) as error:  # the driver's answers may be odd
        facts["error"] = str(error)
    today = datetime.datetime.now(datetime.UTC).date()
    suffix = "" if opened.name == GPU_BACKENDS[0] else f"-{opened.name}"
    report.path = given.json or RESULTS / f"gpu-{slug(str(facts.get('name', 'gpu')))}-{today}{suffix}.json"
    report.content["date"] = str(today)
    try:
        album = Album(read_photos(given.photos))
    except PhotosMissingError as error:
        sys.exit(f"benchmarks.gpu: {error}")
    print(
        f"{facts.get('name')}, driver {facts.get('driver')}, backend {opened.name}; {where['cpu']}",
        flush=True,
    )
    sys.exit(benchmark(settings, opened, album, report))


if __name__ == "__main__":
    main()
