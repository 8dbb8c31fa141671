"""Palettes as files: JSON of our own, for reading and writing; GIMP's .gpl and lists of colours, for reading.

Centres are read to a 64th of a grey level, which is what they are stored in.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.atomic import replacing
from kseg_batch.errors import OptionError, PaletteWarning
from kseg_batch.kmeans.color_lists import GIMP, gimp_colors, hex_colors, with_usable_names
from kseg_batch.kmeans.color_spaces import COLOR_SPACES
from kseg_batch.kmeans.fixed_point import MAX_CLUSTERS, SCALE
from kseg_batch.kmeans.histogram import MAX_PIXELS
from kseg_batch.kmeans.palette import Palette

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kseg_batch.kmeans.color_lists import NamedColor

FORMAT = "kseg-batch palette"
VERSION = 1
"""Goes up when files are written that earlier versions would misread."""

FIELDS = frozenset(
    ("format", "version", "color_space", "names", "centers", "counts", "compactness", "n_iter", "backend")
)
"""What a file has to have."""

FITTED = "fitted"
"""What it may have besides: how the palette came about."""

MOST_BYTES = 1 << 20
"""Of a file; one with 256 clusters has some 30 KB."""

SHOWN = 3
"""Most names listed in a warning."""


def read_palette(source: str | Path) -> Palette:
    """A palette from a file, or from colours such as "#112233,#aabbcc"; in their order there.

    Args:
        source: The path of a JSON file that `write_palette` wrote, of a GIMP palette, or of a text with a
            hexadecimal colour in each line and maybe a name after it, told apart by their content. Or the
            colours themselves, if it begins with #.

    Returns:
        The palette. Its counts are those of the images that it was fitted to, and 0 where there were none.

    Warns:
        PaletteWarning: A colour is there twice, or a GIMP palette has names that clusters cannot have.

    Raises:
        OptionError: It cannot be read, or is no palette.
    """
    text = str(source)
    try:
        if text.startswith("#"):
            palette, notes = _of_colors(list(hex_colors(text.split(",")))), list[str]()
        else:
            palette, notes = _of_file(Path(text))
    except OptionError as error:
        raise OptionError(f"{text}: {error}") from error
    for note in (*notes, *_repeats(palette)):
        warnings.warn(f"{text}: {note}", PaletteWarning, stacklevel=2)
    return palette


def write_palette(path: str | Path, palette: Palette, *, fitted: Mapping[str, object] | None = None) -> None:
    """Write a palette as JSON, whole or not at all; `read_palette` gives it back as it was.

    Args:
        path: The file, which is replaced.
        palette: What to write.
        fitted: What to tell of how it came about. It is not read again.

    Raises:
        OutputError: It cannot be written.
    """
    content: dict[str, object] = {
        "format": FORMAT,
        "version": VERSION,
        "color_space": palette.color_space,
        "names": list(palette.names or [""] * len(palette.counts)),
        "centers": (palette.fixed_centers / SCALE).tolist(),
        "counts": palette.counts.tolist(),
        "compactness": palette.compactness,
        "n_iter": palette.n_iter,
        "backend": palette.backend,
    }
    if fitted is not None:
        content[FITTED] = dict(fitted)
    with replacing(Path(path)) as file:
        file.write(_as_json(content).encode() + b"\n")


def _as_json(value: object, indent: str = "") -> str:
    """JSON with a line for each key and each item of a list, as people edit it."""
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{deeper}{json.dumps(key)}: {_as_json(item, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        lines = [f"{deeper}{json.dumps(item, ensure_ascii=False)}" for item in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False)


def read_written(path: Path) -> Palette:
    """The palette in a file that `write_palette` wrote, and in no other.

    Raises:
        OptionError: It cannot be read, or is something else.
    """
    return _of_json(_text(path))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise OptionError("there is no such file; colours begin with #: '#112233,#aabbcc'.") from error
    except OSError as error:
        raise OptionError(f"it cannot be read: {error.strerror}.") from error
    if len(data) > MOST_BYTES:
        raise OptionError(f"it is no palette: it has more than {MOST_BYTES >> 20} MB.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OptionError("it is no palette, that is, text in UTF-8.") from error


def _of_file(path: Path) -> tuple[Palette, list[str]]:
    """The palette in a file whose first characters say of what kind it is, and what to say of it."""
    text = _text(path)
    if text.lstrip().startswith("{"):
        return _of_json(text), []
    lines = text.splitlines()
    if lines and lines[0].strip() == GIMP:
        return _of_gimp(lines)
    try:
        colors = list(hex_colors(lines))
    except OptionError as error:
        raise OptionError(f"it is neither JSON nor a GIMP palette nor a list of colours: {error}") from error
    return _of_colors(colors), []


def _of_gimp(lines: Sequence[str]) -> tuple[Palette, list[str]]:
    """The palette in the lines of a .gpl file, and what to say of names that are lost."""
    colors, lost = with_usable_names(gimp_colors(lines))
    shown = ", ".join(map(repr, lost[:SHOWN])) + (", ..." if len(lost) > SHOWN else "")
    note = f"colours go without names that clusters cannot have, or have twice: {shown}"
    return _of_colors(colors), [note] if lost else []


def _of_colors(colors: Sequence[NamedColor]) -> Palette:
    """The palette that a list of colours makes."""
    if not 1 <= len(colors) <= MAX_CLUSTERS:
        raise OptionError(f"it has {len(colors)} colours; a palette has 1 to {MAX_CLUSTERS}.")
    names = [color.name for color in colors]
    return Palette(
        fixed_centers=SCALE * np.array([color.rgb for color in colors], np.int32),
        counts=np.zeros(len(colors), np.int64),
        compactness=0.0,
        n_iter=None,
        backend="",
        names=_names(names),
    )


def _repeats(palette: Palette) -> list[str]:
    """What to say of centres that are there twice."""
    first: dict[tuple[int, ...], int] = {}
    notes = []
    for number, center in enumerate(map(tuple, palette.fixed_centers.tolist())):
        if first.setdefault(center, number) != number:
            notes.append(f"cluster {number} is cluster {first[center]} once more, and gets no pixel")
    return notes


def _names(names: Sequence[str]) -> tuple[str, ...]:
    """No names if all are empty."""
    return tuple(names) if any(names) else ()


# ---- JSON ------------------------------------------------------------------------------------------------


def _of_json(text: str) -> Palette:
    """The palette in a file of our own."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"it is not JSON ({error}).") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise OptionError(f'it is JSON, but no palette: its "format" is not "{FORMAT}".')
    _check_fields(content)
    _check_centers(content["color_space"], content["centers"])
    _check_rest(content, len(content["centers"]))
    return Palette(
        fixed_centers=np.floor(SCALE * np.array(content["centers"], np.float64) + 0.5).astype(np.int32),
        counts=np.array(content["counts"], np.int64),
        compactness=float(content["compactness"]),
        n_iter=content["n_iter"],
        backend=content["backend"],
        color_space=content["color_space"],
        names=_names(content["names"]),
    )


def _check_fields(content: Mapping[str, Any]) -> None:
    """Refuse another version, and fields that are unknown or missing."""
    if content.get("version") != VERSION:
        version = json.dumps(content.get("version"))
        raise OptionError(f"it is of version {version}, of which this kseg-batch knows nothing.")
    if missing := FIELDS - content.keys():
        raise OptionError(f'"{min(missing)}" is missing.')
    if unknown := content.keys() - FIELDS - {FITTED}:
        raise OptionError(f'"{min(unknown)}" is nothing that a palette has.')


def _check_centers(color_space: object, centers: object) -> None:
    if color_space not in COLOR_SPACES:
        raise OptionError(f'"color_space" must be {", ".join(COLOR_SPACES)}, not {json.dumps(color_space)}.')
    if not isinstance(centers, list) or not 1 <= len(centers) <= MAX_CLUSTERS:
        raise OptionError(f'"centers" must be a list of 1 to {MAX_CLUSTERS}, {_length(centers)}.')
    for number, center in enumerate(centers):
        if not isinstance(center, list) or len(center) != 3 or not all(_is_number(c, 255) for c in center):
            raise OptionError(f'"centers": cluster {number} must have three numbers from 0 to 255.')


def _check_rest(content: Mapping[str, Any], k: int) -> None:
    for field in ("counts", "names"):
        if not isinstance(content[field], list) or len(content[field]) != k:
            raise OptionError(f'"{field}" must be a list of {k}, as "centers" is, {_length(content[field])}.')
    if not all(type(count) is int and _is_number(count, MAX_PIXELS) for count in content["counts"]):
        raise OptionError(f'"counts" must be whole numbers from 0 to {MAX_PIXELS}.')
    if not all(isinstance(text, str) for text in (*content["names"], content["backend"])):
        raise OptionError('"names" and "backend" must be texts.')
    if not _is_number(content["compactness"], sys.float_info.max):
        raise OptionError('"compactness" must be a number, 0 or more.')
    if content["n_iter"] is not None and not (type(content["n_iter"]) is int and content["n_iter"] >= 0):
        raise OptionError('"n_iter" must be a whole number, 0 or more, or null.')


def _is_number(value: Any, most: float) -> bool:
    """Whether it is one from 0 to `most`; neither true and false nor NaN and Infinity are."""
    return type(value) in (int, float) and 0 <= value <= most


def _length(value: object) -> str:
    return f"not of {len(value)}" if isinstance(value, list) else "which it is not"
