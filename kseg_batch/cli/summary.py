"""The summary of a command over many images, on standard output."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kseg_batch.console import print_line, print_status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def print_summary(lines: Iterable[str], totals: Mapping[str, object], *, as_json: bool, quiet: bool) -> None:
    """Print the summary of a run or a fit.

    Args:
        lines: The summary for people. With `as_json` it goes to standard error.
        totals: The summary for programs, printed with `as_json` only.
        as_json: Whether standard output gets JSON.
        quiet: Whether to leave out the summary for people.
    """
    if as_json:
        print_line(json.dumps({"summary": totals}))
    for line in () if quiet else lines:
        if as_json:
            print_status(line)
        else:
            print_line(line)
