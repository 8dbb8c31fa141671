"""HEIC and JPEG XL for the tests of images."""

import pillow_heif
import pillow_jxl  # noqa: F401 - lets Pillow write JPEG XL
import pytest


@pytest.fixture(scope="session", autouse=True)
def heif() -> None:
    """Let Pillow read and write HEIC."""
    pillow_heif.register_heif_opener()
