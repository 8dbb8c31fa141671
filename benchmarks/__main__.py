"""List all benchmarks, or make all figures and pictures of the documentation anew.

python -m benchmarks
python -m benchmarks all --photos DIR [--out DIR] [--only NAME,...] [--quick]
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from benchmarks.catalog import BENCHMARKS, CATALOG, GPU
from benchmarks.run_all import RESULTS_WORD, Runner, result_table
from benchmarks.support.arguments import RESULTS
from kseg_batch.images.extensions import EXTENSIONS

if TYPE_CHECKING:
    from benchmarks.catalog import Benchmark

WIDTH = 80
"""Columns of a terminal."""

UNBREAKABLE = "\xa0"
"""A space at which no line is broken."""

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
"""Exit codes."""

FOOTER = """\
PHOTO is an image file, PHOTOS a folder of image files. The photos measured are
those of Debian's package mate-backgrounds. Packages have the names under
which pip installs them: pip install matplotlib. Each command has --help.

To run all benchmarks that write a file: python -m benchmarks all --photos DIR"""


def main() -> None:
    """List the benchmarks, or run them."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="List all benchmarks, or run those that write a file."
    )
    subparsers = parser.add_subparsers(dest="command", metavar="all")
    add = subparsers.add_parser("all", help="make all figures and pictures anew").add_argument
    add("--photos", metavar="DIR", type=Path, help="folder of photos, searched recursively")
    add("--out", metavar="DIR", type=Path, help=f"output folder; default: {RESULTS_WORD}")
    add("--only", metavar="NAME,...", help="run only these benchmarks")
    add("--quick", action="store_true", help="take the smallest sizes, to try all; needs --out")
    given = parser.parse_args()
    if given.command is None:
        print("\n".join(listing()))
        return
    if given.quick and given.out is None:
        fail("--quick needs --out: figures of the smallest sizes would replace those of the documentation.")
    benchmarks, photos = chosen(given.only), find_photos(given.photos)
    out = given.out or RESULTS
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"{out} cannot be made: {error.strerror}.")
    runner = Runner(out.absolute(), given.photos, photos, quick=given.quick)
    code = 0
    try:
        runner.run(benchmarks)
    except KeyboardInterrupt:
        code = INTERRUPTED
    print("", *result_table(runner.results), f"output folder: {out}", sep="\n")
    if any(result.status == "failed" for result in runner.results):
        code = code or FAILED
    sys.exit(code)


def listing() -> list[str]:
    """Return the lines of the list of all benchmarks, of at most 80 columns."""
    lines = []
    for group, benchmarks in CATALOG.items():
        lines += [group, "-" * len(group), ""]
        for benchmark in benchmarks:
            lines += [*_wrapped(f"{benchmark.name}: {benchmark.summary}", ""), *_facts(benchmark)]
            lines += [text for command in benchmark.commands for text in _command_lines(command)]
            lines.append("")
    return lines + FOOTER.splitlines()


def _facts(benchmark: Benchmark) -> list[str]:
    """Return lines with the written files and the needs of a benchmark."""
    needs = [*(["photos"] if benchmark.needs_photos else []), *(need.name for need in benchmark.needs)]
    facts = [
        f"{verb} {', '.join(names)}"
        for verb, names in (("writes", benchmark.writes), ("needs", needs))
        if names
    ]
    return _wrapped("; ".join(facts), "  ")


def _wrapped(text: str, indent: str, width: int = WIDTH) -> list[str]:
    """Break a text into indented lines at its spaces, and print unbreakable spaces as spaces."""
    lines = textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
    )
    return [text.replace(UNBREAKABLE, " ") for text in lines]


def _command_lines(command: str) -> list[str]:
    """Return a command in lines that can be copied into a shell, each option beside its value."""
    kept_together = re.sub(r"(--\S+) (?!-)", rf"\1{UNBREAKABLE}", command)
    lines = _wrapped(kept_together, "    ", WIDTH - 2)
    return [f"{text} \\" for text in lines[:-1]] + lines[-1:]


def chosen(only: str | None) -> list[Benchmark]:
    """Return the benchmarks named, or all that write a file; the GPU's only where a GPU is."""
    runnable = [benchmark for benchmark in BENCHMARKS if benchmark.writes]
    if only is None:
        return [benchmark for benchmark in runnable if GPU not in benchmark.needs or GPU.problem() is None]
    names = only.split(",")
    if unknown := [name for name in names if name not in {benchmark.name for benchmark in runnable}]:
        known = ", ".join(benchmark.name for benchmark in runnable)
        fail(f"No benchmark that writes a file has the name {', '.join(unknown)}; the names are {known}.")
    return [benchmark for benchmark in runnable if benchmark.name in names]


def find_photos(folder: Path | None) -> list[Path]:
    """Return the absolute paths of the image files below a folder, sorted."""
    if folder is None:
        return []
    if not folder.is_dir():
        fail(f"{folder}: there is no such folder.")
    files = (path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())
    photos = sorted(path.absolute() for path in files)
    if not photos:
        fail(f"{folder}: there is no photo in this folder.")
    return photos


def fail(message: str) -> NoReturn:
    """Exit with one sentence about wrong usage."""
    print(f"python -m benchmarks: {message}", file=sys.stderr)
    sys.exit(WRONG_USAGE)


if __name__ == "__main__":
    main()
