"""An output folder: its manifest, its files, and whether they agree."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from PIL import Image

from kseg_batch.batch.manifest import Entry
from kseg_batch.batch.storage.source import SourceVersion

if TYPE_CHECKING:
    from pathlib import Path


def manifest(out: Path) -> list[dict[str, Any]]:
    """The lines of the manifest."""
    return [json.loads(line) for line in (out / "manifest.jsonl").read_bytes().splitlines()]


def entries(out: Path) -> dict[str, dict[str, Any]]:
    """The last line of each image, by the image's name."""
    return {line["name"]: line for line in manifest(out)}


def example_entry(name: str, **changes: object) -> Entry:
    """An entry of the journal with a value in each field."""
    values: dict[str, object] = {
        "name": name,
        "source": f"/photos/{name}.jpg",
        "status": "done",
        "error": None,
        "version": SourceVersion(123, 456789, "ab"),
        "fingerprint": "0123",
        "selection": "--keep green --tolerance 55",
        "disabled": (1, 2),
        "outputs": {f"segmented/{name}.png": 99},
    }
    return Entry(**{**values, **changes})  # type: ignore[arg-type]


def tree(folder: Path) -> list[str]:
    """All files below a folder, the lock left out."""
    found = (str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in found if name != ".kseg-lock")


def pngs(out: Path) -> dict[str, bytes]:
    """The content of each PNG file, by name."""
    return {name: (out / name).read_bytes() for name in tree(out) if name.endswith(".png")}


def n_masks(out: Path) -> int:
    """The number of masks."""
    return len(list((out / "masks").rglob("*.png")))


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of modification of every file, the lock left out."""
    return {name: ((folder / name).read_bytes(), (folder / name).stat().st_mtime_ns) for name in tree(folder)}


def unfinished(out: Path) -> list[str]:
    """Temporary files that are left."""
    return [name for name in tree(out) if "tmp" in name]


def check_consistent(out: Path) -> int:
    """Check that the outputs of every image that is done are there and whole; return how many are done."""
    done = [line for line in entries(out).values() if line["status"] == "done"]
    for line in done:
        for name, size in line["outputs"].items():
            assert (out / name).stat().st_size == size
    for name in pngs(out):
        with Image.open(out / name) as picture:
            picture.load()
    return len(done)
