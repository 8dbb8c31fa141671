"""The errors that this package raises on purpose. Each message is one sentence that a user can act on."""

from __future__ import annotations

import re


class KsegError(Exception):
    """Root of them all."""


class OptionError(KsegError, ValueError):
    """A parameter is out of range, or two parameters contradict each other."""

    def __init__(self, message: str, *parameters: str) -> None:
        """Keep the message.

        Args:
            message: The sentence, in the words of the Python interface.
            parameters: The parameters that the sentence names, such as max_iter.
        """
        super().__init__(message)
        self.parameters = parameters

    @property
    def with_flags(self) -> str:
        """The sentence in the words of the command line: --max-iter in place of max_iter."""
        text = str(self)
        for name in self.parameters:
            text = re.sub(rf"\b{name}\b", "--" + name.replace("_", "-"), text, count=1)
        return text


class ImageError(KsegError):
    """An image file cannot be read, or is not an image."""


class SourceError(KsegError):
    """There is nothing to do: a source is missing, empty, or its outputs would collide."""


class OutputError(KsegError):
    """An output cannot be written."""


class OutputGoneError(OutputError):
    """No output can be written any more: the disk is full, or the output folder is gone."""


class DisplayError(KsegError):
    """There is no display, or an OpenCV without windows."""


class BackendError(KsegError):
    """A backend failed on an image."""


class BackendUnavailableError(KsegError):
    """A backend cannot run on this machine."""

    def __init__(self, reason: str, *, installed: bool) -> None:
        """Say why; `installed` tells whether its package is there, so that somebody meant to use it."""
        super().__init__(reason)
        self.installed = installed


def describe(error: Exception) -> str:
    """What an error says; of Python's own, a lack of memory says nothing."""
    return str(error) or "there is not enough memory for it"


class MissingClusterWarning(UserWarning):
    """An image has no cluster of a number or colour that was named."""


class PaletteWarning(UserWarning):
    """Something of a palette file was not taken as it stands there, or is of no use."""


class FewerColorsWarning(UserWarning):
    """An image has fewer distinct colours than the clusters asked for."""


def count(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
