"""Command lines of the benchmarks: arguments that several have in common, and one sentence for an error."""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.photos import PhotosMissingError
from benchmarks.support.checks import WrongResultError
from kseg_batch.errors import KsegError

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULTS = Path(__file__).parents[1] / "results"
"""Folder of the figures and pictures that the documentation shows."""


def make_parser(program: str, documentation: str | None) -> argparse.ArgumentParser:
    """Return an empty parser, described by the first paragraph of a module's docstring.

    Args:
        program: Dotted name of the module, such as `benchmarks.speed.tutorial`.
        documentation: Its docstring.
    """
    summary = (documentation or "").partition("\n\n")[0]
    return argparse.ArgumentParser(prog=f"python -m {program}", description=summary)


def add_photos(parser: argparse.ArgumentParser, default: str) -> None:
    """Add any number of image files, `photos`; `default` says which photos are measured without them."""
    parser.add_argument("photos", metavar="PHOTO", nargs="*", type=Path, help=f"image file; {default}")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json FILE`."""
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to this file")


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add `--out DIR`, the folder of a picture."""
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=RESULTS, help="folder of the picture; default: %(default)s"
    )


def integers(text: str) -> tuple[int, ...]:
    """Parse integers with commas between them."""
    return tuple(int(part) for part in text.split(","))


def numbers(text: str) -> tuple[float, ...]:
    """Parse numbers with commas between them."""
    return tuple(float(part) for part in text.split(","))


def size(text: str) -> tuple[int, int]:
    """Parse WIDTHxHEIGHT, in pixels."""
    width, height = text.split("x")
    return int(width), int(height)


def sizes(text: str) -> tuple[tuple[int, int], ...]:
    """Parse several WIDTHxHEIGHT, in pixels, with commas between them."""
    return tuple(size(part) for part in text.split(","))


@contextmanager
def exit_with_message(program: str) -> Iterator[None]:
    """Turn an expected error into one sentence on stderr and exit status 1."""
    try:
        yield
    except (
        KsegError,
        OSError,
        PhotosMissingError,
        WrongResultError,
        subprocess.CalledProcessError,
    ) as error:
        sys.exit(f"{program}: {error}")
