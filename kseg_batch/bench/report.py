"""What a benchmark tells: a heading with the conditions, a table, and notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kseg_batch.backends.gpu.driver import read_driver
from kseg_batch.bench.benchmark import STOP_FACTOR
from kseg_batch.bench.environment import environment
from kseg_batch.bench.implementations import OURS, REFERENCE
from kseg_batch.bench.libraries import PEERS
from kseg_batch.errors import count
from kseg_batch.kmeans.options import FitOptions
from kseg_batch.processes import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, RenderableType

    from kseg_batch.bench.options import BenchOptions
    from kseg_batch.bench.results import Contest, Row

PACKAGES = (
    "kseg-batch",
    "numpy",
    "numba",
    "opencv-python",
    "opencv-python-headless",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "numba-cuda",
    *dict.fromkeys(peer.needs[1] for peer in PEERS if peer.needs),
    "threadpoolctl",
)
"""Distributions whose versions are told, as far as they are installed."""

EXACT = tuple(contender.name for contender in OURS if contender.exact)

BETTER = 0.999
"""Centres that cost less than so many times what ours cost are told of in words."""

METHOD = (
    (
        "ms",
        "a photo, from uint8 pixels in memory to labels and centres: median, least and most of the passes",
    ),
    ("MP/s", "megapixels a second"),
    ("compactness", "of a contender's centres: every pixel to its nearest, summed in float64, by us"),
    ("/ best", "the same by the lowest in the table at that size and k"),
    ("x cv2", f"how many times faster than {REFERENCE}, the tutorial's call of cv2.kmeans"),
    (
        "peak MB",
        "by how much the contender's process grows at most in its first pass, above its libraries and "
        "the photos; not the memory of a GPU",
    ),
)
"""What the columns mean."""


def parts(contest: Contest, options: BenchOptions, console: Console) -> Iterator[RenderableType]:
    """Everything, to be printed one after the other on a console, which is only measured here."""
    yield Text("kseg-batch bench")
    yield _definitions(_conditions(contest, options))
    yield Text("What the columns say")
    yield _definitions(METHOD)
    if contest.contenders:
        yield Text("Contenders, each in a process of its own, checked in a first pass that is not timed")
        yield _definitions([(c.name, c.about) for c in contest.contenders])
    if contest.rows:
        wide = wide_table(contest)
        needed = Measurement.get(console, console.options.update(max_width=1000), wide).maximum
        if needed <= console.width:
            yield wide
        else:
            yield from narrow_tables(contest)
    yield from map(Text, _notes(contest))
    for name, command in contest.not_installed.items():  # not wrapped, so that it can be copied
        yield Text(f"{name} is not installed; to add it: {command}", no_wrap=True, overflow="ignore")


def _definitions(pairs: Sequence[tuple[str, str]]) -> RenderableType:
    """Two columns, of which the second is wrapped."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, text in pairs:
        table.add_row(name, text)
    return Padding(table, (0, 0, 1, 2), expand=False)


def conditions() -> dict[str, object]:
    """The machine, the GPUs, the versions of what is installed, and the commit."""
    facts = environment(PACKAGES)
    assert isinstance(facts["packages"], dict)
    packages = {name: found for name, found in facts["packages"].items() if found}
    gpus = [str(device.name) for device in read_driver().devices]
    return {**facts, "packages": packages, "usable_cores": usable_cores(), "gpus": gpus}


def _conditions(contest: Contest, options: BenchOptions) -> list[tuple[str, str]]:
    facts = conditions()
    assert isinstance(facts["packages"], dict)
    assert isinstance(facts["gpus"], list)
    versions = ", ".join(f"{name} {found}" for name, found in facts["packages"].items())
    told = [
        (
            "CPU",
            f"{facts['cpu']}, {facts['machine']}, {facts['usable_cores']} of {facts['cores']} cores usable",
        ),
        *(("GPU", name) for name in facts["gpus"]),
        ("system", str(facts["os"])),
        ("Python", str(facts["python"])),
        ("versions", versions),
        ("commit", str(facts["git_commit"] or "unknown")),
        ("threads", f"{options.threads} for libraries that use several"),
        ("passes", f"at most {options.repeat}, until they have taken {options.budget:g} s (--budget)"),
        (
            "slow ones",
            f"a first pass above {options.budget:g} s is what counts, and no larger size or k follows; one "
            f"above {STOP_FACTOR * options.budget:g} s is stopped",
        ),
        ("random", f"seed {FitOptions().seed}, where it can be set"),
    ]
    for photo in contest.photos:
        told.append(("photo", f"{photo.name}, {photo.size}, {photo.colors:,} colours"))
    return told


def wide_table(contest: Contest) -> Table:
    """A line for each row."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("contender", no_wrap=True)
    for name in ("threads", "size", "k", "ms", "least", "most", "passes", "images/s", "MP/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("compactness", "/ best", "x cv2", "peak MB"):
        table.add_column(name, justify="right", no_wrap=True)
    for row, following in zip(contest.rows, [*contest.rows[1:], None], strict=True):
        c = _cells(contest, row)
        table.add_row(
            *(row.contender, c["threads"], row.size, str(row.k), c["ms"], c["least"], c["most"]),
            *(c["passes"], c["images/s"], c["MP/s"], c["compactness"], c["/ best"], c["x cv2"], c["peak MB"]),
            end_section=following is not None and following.cell != row.cell,
        )
    return table


def narrow_tables(contest: Contest) -> Iterator[RenderableType]:
    """A table for each size and k, two lines for each row, for a terminal of 80 columns."""
    for cell in dict.fromkeys(row.cell for row in contest.rows):
        size, k = cell
        table = Table(box=SIMPLE_HEAD, pad_edge=False, title=f"{size}, k = {k}", title_justify="left")
        table.add_column("contender\nthreads, passes", no_wrap=True)
        for name in ("ms\nleast-most", "images/s\nMP/s", "compactness\n/ best", "x cv2\npeak MB"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in (row for row in contest.rows if row.cell == cell):
            c = _cells(contest, row)
            spread = f"{c['least']}-{c['most']}" if row.figures else ""
            passes = f", passes: {c['passes']}" if row.figures else ""
            threads = "GPU" if row.threads is None else count(row.threads, "thread")
            table.add_row(
                f"{row.contender}\n  {threads}{passes}",
                f"{c['ms']}\n{spread}",
                f"{c['images/s']}\n{c['MP/s']}",
                f"{c['compactness']}\n{c['/ best']}",
                f"{c['x cv2']}\n{c['peak MB']}",
            )
        yield table


def _cells(contest: Contest, row: Row) -> dict[str, str]:
    """The texts of a row by column; the status stands in place of the time where there is none."""
    threads = "GPU" if row.threads is None else str(row.threads)
    figures = row.figures
    names = ("least", "most", "passes", "images/s", "MP/s", "compactness", "/ best", "x cv2", "peak MB")
    if figures is None:
        return {"threads": threads, "ms": row.status, **dict.fromkeys(names, "")}
    by_best, faster = contest.by_best(row), contest.times_faster(row)
    return {
        "threads": threads,
        "ms": shown(figures.median_ms),
        "least": shown(figures.least_ms),
        "most": shown(figures.most_ms),
        "passes": str(figures.passes),
        "images/s": shown(figures.images_per_s),
        "MP/s": shown(figures.images_per_s * row.megapixels),
        "compactness": f"{figures.compactness:.5e}",
        "/ best": "" if by_best is None else f"{by_best:.4f}",
        "x cv2": "" if faster is None else shown(faster),
        "peak MB": f"{figures.peak_mb:.0f}",
    }


def shown(number: float) -> str:
    """Three digits or more, with no exponent."""
    digits = 0 if number >= 100 else 1 if number >= 10 else 2 if number >= 1 else 3
    return f"{number:,.{digits}f}"


def _notes(contest: Contest) -> Iterator[str]:
    """What the table has no room for."""
    for row in contest.rows:
        if row.reason is not None:
            yield f"{row.where}: {row.status}: {row.reason}"
    for row in contest.rows:
        ours = [r for r in contest.rows if r.cell == row.cell and r.contender in EXACT and r.figures]
        if row.figures and ours and ours[0].figures:
            ratio = row.figures.compactness / max(ours[0].figures.compactness, 1e-9)
            if ratio < BETTER:
                yield f"{row.where}: its centres are better than ours, {ratio:.4f} times the compactness"
    for name, reason in contest.absent.items():
        yield f"{name} takes no part: {reason}"
    yield from contest.unreadable
    if contest.interrupted:
        yield "interrupted: this is what was measured until then"
