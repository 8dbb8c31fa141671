"""The Python interface: `segment`, `fit_palette`, `apply_palette`, and the results in a Segmentation."""

import numpy as np
import pytest

from kseg_batch import Palette, apply_palette, fit_palette, segment
from kseg_batch.errors import FewerColorsWarning, OptionError
from tests.support.images import blocks, noise, photos


def test_segment_a_photo() -> None:
    rgb = photos()["coffee"]
    s = segment(rgb, k=3, seed=0, backend="auto")
    assert (s.labels.shape, s.labels.dtype) == (rgb.shape[:2], np.dtype("uint8"))
    assert (s.centers.shape, s.centers.dtype) == ((3, 3), np.dtype("float64"))
    assert (s.counts.shape, s.counts.dtype) == ((3,), np.dtype("int64"))
    assert s.counts.sum() == s.labels.size
    assert (s.centers >= 0).all() and (s.centers <= 255).all()
    luma = s.centers @ [299, 587, 114]
    assert (np.diff(luma) > 0).all()
    assert s.backend == "numba"
    assert s.n_iter is not None and 1 <= s.n_iter <= 100
    moved = segment(rgb, k=3, eps=0)  # converged, so each centre is the mean of its pixels, in 1/64 steps
    for j in range(3):
        assert np.allclose(rgb[moved.mask(j)].mean(axis=0), moved.centers[j], atol=1 / 128)


def test_pictures() -> None:
    rgb = blocks([(200, 0, 0), (0, 0, 100), (255, 255, 255)])
    s = segment(rgb, 3)
    assert np.array_equal(s.segmented(), rgb)
    assert np.array_equal(s.mask(0), (rgb == (0, 0, 100)).all(axis=2))
    masked = s.masked(rgb, disable=[0, 2])
    assert np.array_equal(masked, np.where(s.mask(1)[..., None], rgb, 0))
    assert rgb.max() == 255  # the photo itself is untouched


def test_mask_and_masked_refuse_missing_clusters() -> None:
    rgb = blocks([(200, 0, 0), (0, 0, 100)])
    s = segment(rgb, 2)
    with pytest.raises(OptionError, match="cluster must be from 0 to 1, not 2"):
        s.mask(2)
    with pytest.raises(OptionError, match=r"^disable -1: the clusters are 0 to 1"):
        s.masked(rgb, disable=[-1])
    with pytest.raises(OptionError, match="shape"):
        s.masked(rgb[1:], disable=[0])


def test_same_seed_same_result() -> None:
    rgb = photos()["chelsea"]
    one, other = segment(rgb, 8, seed=7), segment(rgb, 8, seed=7)
    assert np.array_equal(one.labels, other.labels)
    assert one.compactness == other.compactness


def test_fewer_colors_warn() -> None:
    with pytest.warns(FewerColorsWarning, match="only 2 distinct colours, so 2 clusters instead of 5"):
        s = segment(blocks([(1, 2, 3), (9, 9, 9)]), k=5)
    assert s.centers.tolist() == [[1, 2, 3], [9, 9, 9]]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        [[[0, 0, 0]]],
    ],
)
def test_arrays_that_are_no_image(image: object) -> None:
    with pytest.raises(OptionError, match=r"^rgb must be "):
        segment(image)  # type: ignore[arg-type]


def test_a_palette_of_several_images_is_that_of_all_glued_together() -> None:
    images = [noise(20, 30, 0, 90, seed=1), noise(10, 30, 60, 200, seed=2), noise(25, 30, 100, 256, seed=3)]
    palette = fit_palette(iter(images), 4)
    glued = segment(np.concatenate(images), 4)
    assert np.array_equal(palette.fixed_centers, glued.palette.fixed_centers)
    assert np.array_equal(palette.counts, glued.counts)
    assert palette.compactness == glued.compactness
    labels = [apply_palette(image, palette) for image in images]
    assert np.array_equal(np.concatenate(labels), glued.labels)


def test_a_palette_of_no_images() -> None:
    with pytest.raises(OptionError, match="at least one image"):
        fit_palette([])


def test_fit_palette_warns_too() -> None:
    with pytest.warns(FewerColorsWarning, match="only 1 distinct colour, so 1 cluster instead of 5"):
        fit_palette([blocks([(1, 2, 3)])], k=5)


@pytest.mark.parametrize(
    "centers",
    [
        np.zeros((0, 3), np.int32),
        np.zeros((257, 3), np.int32),
        np.zeros((2, 4), np.int32),
        np.zeros((2, 3), np.float64),
        np.full((1, 3), -1, np.int32),
        np.full((1, 3), 16321, np.int32),
    ],
)
def test_a_palette_that_no_kernel_could_take(centers: np.ndarray) -> None:
    with pytest.raises(OptionError):
        Palette(centers, np.zeros(len(centers), np.int64), 0.0, 1, "hand")


def test_public_names() -> None:
    import kseg_batch

    functions = {"apply_palette", "fit_palette", "read_palette", "segment", "write_palette"}
    assert set(kseg_batch.__all__) == {"Palette", "Segmentation", *functions}
