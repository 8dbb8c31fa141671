"""Palette files: reading and writing kseg-batch's JSON; reading GIMP's .gpl and lists of colours.

Centres are read to a 64th of a grey level, the precision in which they are stored.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg_batch.atomic import replacing
from kseg_batch.console import printable
from kseg_batch.errors import OptionError, PaletteWarning, count
from kseg_batch.kmeans.color_lists import GIMP, drop_unusable_names, gimp_colors, hex_colors
from kseg_batch.kmeans.color_spaces import COLOR_SPACES
from kseg_batch.kmeans.fixed_point import MAX_CLUSTERS, SCALE
from kseg_batch.kmeans.histogram import MAX_PIXELS
from kseg_batch.kmeans.palette import Palette

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kseg_batch.kmeans.color_lists import NamedColor

FORMAT = "kseg-batch palette"
"""The field "format" of a palette in JSON."""
VERSION = 2
"""Format version, which increases when earlier versions would misread new files."""

FIELDS_1 = frozenset(
    ("format", "version", "color_space", "names", "centers", "counts", "compactness", "n_iter", "backend")
)
FIELDS = {1: FIELDS_1, 2: FIELDS_1 | {"mean_colors"}}
"""Fields that a palette in JSON must have, by its version."""

FITTED = "fitted"
"""An optional field: how the palette was made."""

MAX_FILE_BYTES = 1 << 20
"""Most bytes of a palette file. A file with 256 clusters has about 40 KB."""

MAX_LISTED = 3
"""Most names that a warning lists."""


def read_palette(source: str | Path) -> Palette:
    """Read a palette from a file, or from colours such as "#112233,#aabbcc".

    Args:
        source: A path, or colours. A path is that of a JSON file from `write_palette`, of a GIMP palette
            (.gpl), or of a text file with a hexadecimal colour in each line, optionally followed by a name.
            The content decides which, not the file name. A source that begins with # is read as colours,
            separated by commas.

    Returns:
        The palette, with its clusters in the order of the source. A list of colours and a GIMP palette were
        not fitted to images: their counts and compactness are 0.

    Warns:
        PaletteWarning: A colour occurs twice, or a GIMP palette has names that clusters cannot have.

    Raises:
        OptionError: The source cannot be read, or is not a palette. Also a ValueError.
    """
    text = str(source)
    try:
        if text.startswith("#"):
            palette, notes = _palette_from_colors(list(hex_colors(text.split(",")))), list[str]()
        else:
            palette, notes = _read_file(Path(text))
    except OptionError as error:
        raise OptionError(f"{text}: {error}") from error
    for note in (*notes, *_notes_on_duplicates(palette)):
        warnings.warn(printable(f"{text}: {note}"), PaletteWarning, stacklevel=2)
    return palette


def write_palette(path: str | Path, palette: Palette, *, fitted: Mapping[str, object] | None = None) -> None:
    """Write a palette as JSON, from which `read_palette` restores an equal palette.

    Args:
        path: The file to write. An existing file is replaced, but only by a complete new one.
        palette: The palette to write.
        fitted: Further information for readers of the file, such as how the palette was fitted, as values
            that JSON can hold. `read_palette` ignores them.

    Raises:
        OutputError: The file cannot be written.
    """
    content: dict[str, object] = {
        "format": FORMAT,
        "version": VERSION,
        "color_space": palette.color_space,
        "names": list(palette.names or [""] * len(palette.counts)),
        "centers": (palette.fixed_centers / SCALE).tolist(),
        "mean_colors": None if palette.mean_colors is None else palette.mean_colors.tolist(),
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
    """Return JSON with a line for each key and each item of a list, for editing by hand."""
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{deeper}{json.dumps(key)}: {_as_json(item, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        lines = [f"{deeper}{json.dumps(item, ensure_ascii=False)}" for item in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False)


def read_json_palette(path: Path) -> Palette:
    """Read a palette from a JSON file of `write_palette`, and from no other kind of file.

    Raises:
        OptionError: The file cannot be read, or is not a palette in JSON.
    """
    return _palette_from_json(_read_text(path))


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise OptionError("there is no such file; colours begin with #: '#112233,#aabbcc'.") from error
    except OSError as error:
        raise OptionError(f"the file cannot be read: {error.strerror}.") from error
    if len(data) > MAX_FILE_BYTES:
        raise OptionError(f"this is not a palette: the file has more than {MAX_FILE_BYTES >> 20} MB.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OptionError("this is not a palette: the file is not text in UTF-8.") from error


def _read_file(path: Path) -> tuple[Palette, list[str]]:
    """Read a palette file, whose format its first characters tell. Return the palette and notes."""
    text = _read_text(path)
    if text.lstrip().startswith("{"):
        return _palette_from_json(text), []
    lines = text.splitlines()
    if lines and lines[0].strip() == GIMP:
        return _palette_from_gimp(lines)
    try:
        colors = list(hex_colors(lines))
    except OptionError as error:
        raise OptionError(
            f"this is not a palette in JSON, nor a GIMP palette, nor a list of colours: {error}"
        ) from error
    return _palette_from_colors(colors), []


def _palette_from_gimp(lines: Sequence[str]) -> tuple[Palette, list[str]]:
    """Return the palette in the lines of a .gpl file, and a note if names were dropped."""
    colors, dropped = drop_unusable_names(gimp_colors(lines))
    listed = ", ".join(map(repr, dropped[:MAX_LISTED])) + (", ..." if len(dropped) > MAX_LISTED else "")
    note = f"names that clusters cannot have, or that occur twice, were left out: {listed}"
    return _palette_from_colors(colors), [note] if dropped else []


def _palette_from_colors(colors: Sequence[NamedColor]) -> Palette:
    """Return the palette with a cluster for each colour, fitted to no image."""
    if not 1 <= len(colors) <= MAX_CLUSTERS:
        raise OptionError(f"a palette must have 1 to {MAX_CLUSTERS} colours, not {len(colors)}.")
    names = [color.name for color in colors]
    return Palette(
        fixed_centers=SCALE * np.array([color.rgb for color in colors], np.int32),
        counts=np.zeros(len(colors), np.int64),
        compactness=0.0,
        n_iter=None,
        backend="",
        names=_all_or_none(names),
    )


def _notes_on_duplicates(palette: Palette) -> list[str]:
    """Return a note for each cluster whose centre is that of an earlier cluster."""
    first: dict[tuple[int, ...], int] = {}
    notes = []
    for number, center in enumerate(map(tuple, palette.fixed_centers.tolist())):
        if first.setdefault(center, number) != number:
            notes.append(f"cluster {number} has the colour of cluster {first[center]}, and so gets no pixels")
    return notes


def _all_or_none(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, or an empty tuple if all are empty."""
    return tuple(names) if any(names) else ()


# ---- JSON ------------------------------------------------------------------------------------------------


def _palette_from_json(text: str) -> Palette:
    """Return the palette in the text of a JSON file from `write_palette`."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"this is not valid JSON ({error}).") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise OptionError(f'this is not a palette: "format" is not "{FORMAT}".')
    _check_fields(content)
    _check_centers(content["color_space"], content["centers"])
    _check_rest(content, len(content["centers"]))
    mean_colors = content.get("mean_colors")
    if mean_colors is not None:
        _check_mean_colors(content["color_space"], mean_colors, len(content["centers"]))
    return Palette(
        fixed_centers=np.floor(SCALE * np.array(content["centers"], np.float64) + 0.5).astype(np.int32),
        counts=np.array(content["counts"], np.int64),
        compactness=float(content["compactness"]),
        n_iter=content["n_iter"],
        backend=content["backend"],
        color_space=content["color_space"],
        names=_all_or_none(content["names"]),
        mean_colors=None if mean_colors is None else np.array(mean_colors, np.float64),
    )


def _check_fields(content: Mapping[str, Any]) -> None:
    """Raise an OptionError for another format version, and for unknown or missing fields."""
    version = content.get("version")
    if type(version) is not int or version not in FIELDS:
        known = " or ".join(map(str, FIELDS))
        raise OptionError(
            f'"version" must be {known}, which this kseg-batch reads, not {json.dumps(version)}.'
        )
    if missing := FIELDS[version] - content.keys():
        raise OptionError(f'"{min(missing)}" is missing.')
    if unknown := content.keys() - FIELDS[version] - {FITTED}:
        raise OptionError(f'"{min(unknown)}" is not a field of a palette.')


def _check_centers(color_space: object, centers: object) -> None:
    if color_space not in COLOR_SPACES:
        raise OptionError(
            f'"color_space" must be one of {", ".join(COLOR_SPACES)}, not {json.dumps(color_space)}.'
        )
    if not isinstance(centers, list) or not 1 <= len(centers) <= MAX_CLUSTERS:
        raise OptionError(f'"centers" must be a list of 1 to {MAX_CLUSTERS} items, {_but_found(centers)}.')
    _check_triples("centers", centers)


def _check_mean_colors(color_space: str, mean_colors: object, k: int) -> None:
    if color_space == "rgb":
        raise OptionError('"mean_colors" must be null in rgb, where "centers" are the mean colours.')
    if not isinstance(mean_colors, list) or len(mean_colors) != k:
        raise OptionError(
            f'"mean_colors" must be null, or a list of {count(k, "item")}, as many as in "centers", '
            f"{_but_found(mean_colors)}."
        )
    _check_triples("mean_colors", mean_colors)


def _check_triples(field: str, triples: Sequence[object]) -> None:
    for number, triple in enumerate(triples):
        if not isinstance(triple, list) or len(triple) != 3 or not all(_is_number(c, 255) for c in triple):
            raise OptionError(f'"{field}": cluster {number} must have three numbers from 0 to 255.')


def _check_rest(content: Mapping[str, Any], k: int) -> None:
    for field in ("counts", "names"):
        if not isinstance(content[field], list) or len(content[field]) != k:
            raise OptionError(
                f'"{field}" must be a list of {count(k, "item")}, as many as in "centers", '
                f"{_but_found(content[field])}."
            )
    if not all(type(number) is int and _is_number(number, MAX_PIXELS) for number in content["counts"]):
        raise OptionError(f'"counts" must be whole numbers from 0 to {MAX_PIXELS}.')
    if not all(isinstance(text, str) for text in (*content["names"], content["backend"])):
        raise OptionError('"names" must be strings, and "backend" a string.')
    if not _is_number(content["compactness"], sys.float_info.max):
        raise OptionError('"compactness" must be a number, 0 or more.')
    if content["n_iter"] is not None and not (type(content["n_iter"]) is int and content["n_iter"] >= 0):
        raise OptionError('"n_iter" must be a whole number, 0 or more, or null.')


def _is_number(value: Any, high: float) -> bool:
    """Whether a JSON value is a number from 0 to `high`. True, false, NaN and Infinity are not."""
    return type(value) in (int, float) and 0 <= value <= high


def _but_found(value: object) -> str:
    return f"not {len(value)}" if isinstance(value, list) else "but is not a list"
