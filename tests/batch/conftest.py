"""Photos and a worker for the tests of several modules."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kseg_batch.batch.workers.count_colors import CountPool, count_pool
from tests.support.image_files import save
from tests.support.images import photos


@pytest.fixture
def photo_tree(tmp_path: Path) -> Path:
    """A folder that holds photos: a tree of three photos, and a text file."""
    save(photos()["coffee"], tmp_path / "photos/coffee.jpg")
    save(photos()["chelsea"], tmp_path / "photos/pets/Chelsea the cat.PNG")
    save(photos()["china"], tmp_path / "photos/trips/2024/china.webp")
    (tmp_path / "photos/notes.txt").write_text("none of these is a dog")
    return tmp_path


@pytest.fixture(scope="module")
def pool() -> Iterator[CountPool]:
    """One worker for all fits in this process."""
    with count_pool(1, None) as workers:
        yield workers
