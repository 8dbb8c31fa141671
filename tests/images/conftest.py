"""HEIC for the tests of images."""

import pillow_heif
import pytest


@pytest.fixture(scope="session", autouse=True)
def heif() -> None:
    """Let Pillow read and write HEIC."""
    pillow_heif.register_heif_opener()
