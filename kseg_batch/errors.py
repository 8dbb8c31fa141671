"""Exceptions and warnings of this package. Each message is one sentence that a user can act on."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self


class KsegError(Exception):
    """Base class of all errors that this package raises."""


class OptionError(KsegError, ValueError):
    """A parameter is out of range, or two parameters contradict each other. Also a ValueError."""

    def __init__(self, message: str, *parameters: str) -> None:
        """Keep the message and the names of its parameters.

        Args:
            message: The sentence, with the parameter names of the Python interface.
            parameters: The parameter names in the sentence that are also flags, such as max_iter.
        """
        super().__init__(message)
        self.parameters = parameters

    @property
    def with_flags(self) -> str:
        """The message with flags in place of parameter names, such as --max-iter in place of max_iter.

        The first occurrence of each name is replaced, as a whole word.
        """
        text = str(self)
        for name in self.parameters:
            text = re.sub(rf"\b{name}\b", "--" + name.replace("_", "-"), text, count=1)
        return text


class ImageError(KsegError):
    """An image file cannot be read or decoded, or is not an image."""


class SourceError(KsegError):
    """A source is missing or empty, or two of its images would have the same outputs."""

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        """Keep the message, and lines that list what the message is about."""
        super().__init__(message)
        self.details = details


class OutputError(KsegError):
    """An output cannot be written."""


class OutputGoneError(OutputError):
    """No further output can be written: the disk is full, or the output folder is gone."""


class DisplayError(KsegError):
    """A window cannot be opened: there is no display, or OpenCV was built without windows."""


class BackendError(KsegError):
    """A backend failed while it processed an image."""


class BackendUnavailableError(KsegError):
    """A backend cannot run on this machine."""

    def __init__(self, reason: str, *, installed: bool) -> None:
        """Keep the reason.

        Args:
            reason: Why the backend cannot run, with the remedy.
            installed: Whether the backend's package is installed, so that a user probably wants the backend.
        """
        super().__init__(reason)
        self.installed = installed

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[object, ...]]:
        """Pickle with `installed`, so that a worker process can send the error."""
        return partial(type(self), installed=self.installed), self.args


def describe(error: Exception) -> str:
    """Return the message of an error. A MemoryError may have none, and is described as lack of memory."""
    if isinstance(error, MemoryError):
        return "there is not enough memory for it" + (f" ({error})" if str(error) else "")
    return str(error)


WORDS_FOR_NO_MEMORY = (
    "failed to map segment",  # of the dynamic linker
    "annot allocate memory",  # of the C library
    "out of memory",  # of Pillow
    "Insufficient memory",  # of libjpeg
    "without exception set",  # of Python, for a C extension that did not check an allocation
    "without setting an exception",
)


def is_memory_shortage(error: BaseException | None) -> bool:
    """Return whether an error, or one that led to the error, comes from a lack of memory."""
    while error is not None:
        if isinstance(error, MemoryError) or any(words in str(error) for words in WORDS_FOR_NO_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


class MissingClusterWarning(UserWarning):
    """An image has no cluster with a requested number or colour."""


class FallbackWarning(UserWarning):
    """No exact backend can run here, and cv2.kmeans computes in its place."""


class KernelCacheWarning(UserWarning):
    """Compiled kernels cannot be kept, or those that were kept are not used. The results are the same."""


class PaletteWarning(UserWarning):
    """A name in a palette file was left out, or a colour occurs twice."""


class FewerColorsWarning(UserWarning):
    """An image has fewer distinct colours than requested clusters, and so gets fewer clusters."""


def did_you_mean(text: str, names: Iterable[str], prefix: str = "") -> str:
    """Return the end of a sentence about a wrong name, such as "; did you mean red?".

    The end is empty where none of the names resembles the text. The prefix, such as the dashes of a flag, is
    put before each name, and not compared.
    """
    from difflib import get_close_matches

    near = get_close_matches(text, list(names))
    return f"; did you mean {', '.join(prefix + name for name in near)}?" if near else ""


def unknown_choice(parameter: str, value: str, names: Sequence[str]) -> OptionError:
    """Return the error for a parameter whose value is none of the names to choose from."""
    near = did_you_mean(value, names) or "."
    return OptionError(f"{parameter} must be one of {', '.join(names)}, not {value}{near}", parameter)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 image" or "2,000 images"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
