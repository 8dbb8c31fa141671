"""What is printed: lines on standard error, and progress."""

from __future__ import annotations

import sys

SECONDS_BETWEEN_LINES = 30.0


def print_status(text: str) -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr, flush=True)


def format_duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
