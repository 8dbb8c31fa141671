"""Parsers for the values of flags: sizes, numbers of pixels, lists of GPUs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kseg_batch.batch.storage.outputs import KINDS
from kseg_batch.errors import OptionError, did_you_mean
from kseg_batch.kmeans.options import FitOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kseg_batch.batch.storage.outputs import Save


def parse_bytes(text: str) -> int:
    """Return the bytes of a size such as 4G, 800M or 6000000000; K, M and G are powers of 1024.

    Raises:
        OptionError: The text is not a size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)I?B?", text.strip().upper())
    if match is None:
        raise OptionError(f"--gpu-memory must be a size such as 4G or 800M, not {text!r}.")
    return int(float(match[1]) * 1024 ** " KMG".index(match[2] or " "))


def parse_pixels(text: str) -> int:
    """Return a number of pixels, given as 200M or 50000000; K, M and G are powers of 1000.

    Raises:
        OptionError: The text is not a number of pixels.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)", text.strip().upper())
    pixels = int(float(match[1]) * 1000 ** " KMG".index(match[2] or " ")) if match else 0
    if pixels < 1:
        raise OptionError(f"--max-pixels must be a number of pixels such as 200M, not {text!r}.")
    return pixels


def parse_devices(text: str) -> tuple[int, ...] | None:
    """Return the numbers in a list of GPUs such as 0,1; None for `all`.

    Raises:
        OptionError: The text is not such a list, or names a GPU twice.
    """
    if text.strip().lower() == "all":
        return None
    if not re.fullmatch(r"\d+(,\d+)*", text.replace(" ", "")):
        raise OptionError(f"--device must be numbers of GPUs such as 0 or 0,1, or all, not {text!r}.")
    devices = tuple(int(number) for number in text.split(","))
    if len(set(devices)) < len(devices):
        raise OptionError(f"--device {text} names a GPU twice.")
    return devices


def parse_kinds(texts: Iterable[str]) -> Iterator[Save]:
    """Yield the kinds of output in lists such as segmented,labels.

    Raises:
        OptionError: A list has a name that is no kind of output.
    """
    for name in (part.strip() for text in texts for part in text.split(",")):
        if name not in KINDS:
            near = did_you_mean(name, KINDS) or "."
            raise OptionError(f"save must be one or more of {', '.join(KINDS)}, not {name!r}{near}", "save")
        yield name


def refuse_empty(*paths: str | None) -> None:
    """Raise an OptionError if a path is empty, as the value of an unset shell variable is."""
    if "" in paths:
        raise OptionError("A path is empty: is a variable unset?")


def refuse_contradiction(gpu: bool | None, *, require_gpu: bool) -> None:
    """Raise an OptionError if a GPU is both required and forbidden."""
    if require_gpu and gpu is False:
        raise OptionError("--require-gpu and --no-gpu contradict each other.")


def parse_k_list(text: str) -> tuple[int, ...]:
    """Return the numbers of clusters in a list such as 2,3,8, in ascending order without duplicates.

    Raises:
        OptionError: The text is not such a list, or a number is out of range.
    """
    if not re.fullmatch(r"\d+(,\d+)*", text.replace(" ", "")):
        raise OptionError(f"--k must be numbers of clusters such as 2,3,8, not {text!r}.")
    return tuple(sorted({FitOptions(k=int(part)).k for part in text.split(",")}))
