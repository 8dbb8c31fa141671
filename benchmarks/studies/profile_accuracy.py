"""Compare conversions to sRGB with those of LittleCMS, for all ICC profiles that are found in files.

python -m benchmarks.studies.profile_accuracy [PATH ...]
"""

from __future__ import annotations

import io
import struct
import sysconfig
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.support.arguments import exit_with_message, make_parser
from benchmarks.support.report import heading, line, target_line
from kseg_batch.errors import count
from kseg_batch.images.decode import decode, prepare_process
from tests.support.icc import all_colors, by_littlecms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

PROGRAM = "benchmarks.studies.profile_accuracy"

NOTES = """\
All colours of 56 levels a channel, or all greys, are decoded from a PNG with the profile, and are compared
with LittleCMS without tables of its own, which are some levels off for a few profiles. PATH is a file, or a
folder that is searched: each ICC profile in any file counts, once. Without PATH, Python's packages are
searched."""

MODES = {b"RGB ": "RGB", b"GRAY": "L"}
"""Pillow's modes, by the signature of a profile's channels. Inks are always left to LittleCMS."""
LEVELS = (*range(0, 256, 5), 1, 2, 3, 254)
MAX_FILE_BYTES = 1 << 27

WIDTHS = (-28, 10)
COLUMNS = ("greatest difference", "profiles")


def main() -> None:
    """Compare all profiles, and print a table."""
    parser = make_parser(PROGRAM, __doc__)
    parser.add_argument(
        "paths", metavar="PATH", nargs="*", type=Path, help="file or folder; default: Python's packages"
    )
    given = parser.parse_args()
    paths = given.paths or [Path(sysconfig.get_path("purelib"))]
    print(
        heading("Conversions by ICC profiles beside LittleCMS", {"paths": len(paths)}),
        f"\n{NOTES}\n",
        sep="\n",
    )
    with exit_with_message(PROGRAM):
        prepare_process()
        outcomes = Counter(compare(profile) for profile in set(profiles(paths)))
        print(line(COLUMNS, WIDTHS))
        for outcome in sorted(outcomes):
            print(line((outcome, str(outcomes[outcome])), WIDTHS))
        far = sum(
            n
            for outcome, n in outcomes.items()
            if outcome.endswith(" off") and not outcome.endswith((" 0 levels off", " 1 level off"))
        )
        print("", target_line(f"{far} profiles are more than 1 level off", far == 0, "0"), sep="\n")


def profiles(paths: Sequence[Path]) -> Iterator[bytes]:
    """Yield every RGB and grey profile that lies uncompressed in a file."""
    for path in paths:
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file() and not file.is_symlink() and file.stat().st_size <= MAX_FILE_BYTES:
                yield from profiles_in(file.read_bytes())


def profiles_in(data: bytes) -> Iterator[bytes]:
    """Yield the RGB and grey profiles in the content of a file, by the signature at their byte 36."""
    at = data.find(b"acsp", 36)
    while at >= 0:
        start = at - 36
        (size,) = struct.unpack_from(">I", data, start)
        profile = data[start : start + size]
        if len(profile) == size >= 132 and profile[8] in (2, 4) and profile[16:20] in MODES:
            yield profile
        at = data.find(b"acsp", at + 4)


def compare(profile: bytes) -> str:
    """Return the greatest difference between the conversion by a profile and that of LittleCMS, in words."""
    mode = MODES[profile[16:20]]
    colors = all_colors(LEVELS)
    if mode == "L":
        colors = np.arange(256, dtype=np.uint8)[None]
    photo = decode(png(colors, profile))
    if any("ignored" in note for note in photo.notes):
        return "ignored: " + photo.notes[0].removeprefix("its colour profile ").removesuffix(
            ", and was ignored"
        )
    if any("LittleCMS" in note for note in photo.notes):
        return "tables, left to LittleCMS"
    expected = by_littlecms(colors, profile, mode, exact=True)
    worst = int(np.abs(photo.rgb.astype(np.int16) - expected).max())
    kind = "converted" if photo.converted else "taken as sRGB"
    return f"{kind}, {count(worst, 'level')} off"


def png(samples: NDArray[np.uint8], profile: bytes) -> bytes:
    """Return a PNG file of samples with a profile."""
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "PNG", icc_profile=profile)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
