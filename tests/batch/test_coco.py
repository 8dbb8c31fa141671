"""`--save coco`, through the real command line, and read by pycocotools."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from tests.support.commands import begin, kseg, wait_for_images
from tests.support.faults import hide_modules
from tests.support.image_files import save, save_noise
from tests.support.images import blocks, flat, noise, photos
from tests.support.outputs import manifest, tree
from tests.support.processes import PATIENCE, wait_until_session_is_over

pytestmark = pytest.mark.filterwarnings(  # pycocotools 2.0.11 decodes so; newer NumPy may refuse it
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

ONE = ("--workers", 1)
"""A single worker, because workers take long to start."""

BOTH = ("--save", "masks", "--save", "coco", *ONE)
FOUR = blocks([(0, 0, 0), (200, 0, 0), (0, 250, 0), (255, 255, 255)])


def text(out: Path) -> bytes:
    return (out / "annotations.json").read_bytes()


def check(out: Path) -> dict[str, int]:
    """Check the masks in annotations.json against the PNG files of all images that are done.

    Return the number of annotations of each image, by its name in the file.
    """
    dataset = COCO(out / "annotations.json")
    lines = {line["name"]: line for line in manifest(out) if line["status"] == "done"}
    listed = dataset.loadImgs(dataset.getImgIds())
    assert [image["id"] for image in listed] == list(range(1, len(lines) + 1))
    assert [ann["id"] for ann in dataset.dataset["annotations"]] == list(range(1, len(dataset.anns) + 1))
    names = [image["file_name"] for image in listed]
    assert names == sorted(names, key=lambda name: Path(name).parts)
    assert len(dataset.cats) == max(len(line["counts"]) for line in lines.values())
    for number, category in dataset.cats.items():
        assert category == {"id": number, "name": f"cluster {number - 1}", "supercategory": "cluster"}
    n_annotations = {}
    for image in listed:
        stem = image["file_name"]
        line: Any = lines[stem] if stem in lines else lines[stem.rpartition(".")[0]]
        assert line["source"].endswith(f"/{Path(stem).name}")
        assert [image["width"], image["height"]] == line["size"]
        own = dataset.imgToAnns[image["id"]]
        assert [ann["category_id"] for ann in own] == list(range(1, len(line["counts"]) + 1))
        assert [ann["area"] for ann in own] == line["counts"]
        for ann in own:
            with Image.open(out / f"masks/{line['name']}_mask{ann['category_id'] - 1}.png") as picture:
                mask = np.asarray(picture.convert("1"))
                if picture.mode != "1":  # transparent pixels, which are in no cluster
                    mask = mask & (np.asarray(picture.convert("RGBA"))[..., 3] > 0)
            assert np.array_equal(dataset.annToMask(ann), mask)
            y, x = mask.nonzero()
            assert ann["bbox"] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
            assert ann["iscrowd"] == 0
        n_annotations[image["file_name"]] = len(own)
    return n_annotations


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    save(photos()["coffee"], tmp_path / "p/coffee.JPG")
    save(photos()["chelsea"], tmp_path / "p/pets/Chelsea the cat.png")
    save(FOUR, tmp_path / "p/pets/b/é.bmp")
    save(noise(1, 301), tmp_path / "p/row.png")
    save(noise(301, 1), tmp_path / "p/column.png")
    save(flat(9, 13), tmp_path / "p/flat.png")
    return tmp_path


@pytest.mark.parametrize("k", [3, 256])
def test_masks_equal_the_png_files(photo_folder: Path, k: int) -> None:
    assert kseg("run", "p", "--k", k, *BOTH, cwd=photo_folder).returncode == 0
    assert check(photo_folder / "p-kseg") == {
        "coffee.JPG": k,
        "column.png": k,
        "flat.png": 1,
        "pets/Chelsea the cat.png": k,
        "pets/b/é.bmp": min(k, 4),
        "row.png": k,
    } | ({"column.png": 256, "row.png": 256} if k == 256 else {})


def test_coco_alone(photo_folder: Path) -> None:
    result = kseg("run", "p", "--save", "coco", *ONE, cwd=photo_folder)
    out = photo_folder / "p-kseg"
    assert result.returncode == 0
    assert f"\ncoco       {out}/annotations.json\n" in result.stdout
    names = ["coffee", "column", "flat", "pets/Chelsea the cat", "pets/b/é", "row"]
    own = [f"coco/{name}.json" for name in names]
    assert tree(out) == sorted(["annotations.json", "manifest.jsonl", "coco/.kseg-batch", *own])
    outputs = {name for line in manifest(out) for name in line["outputs"]}
    assert outputs == set(own)
    alone = COCO(out / "coco/pets/b/é.json")  # is a dataset, too
    assert alone.imgs == {1: {"id": 1, "width": 32, "height": 12, "file_name": "pets/b/é.bmp"}}
    assert len(alone.anns) == len(alone.cats) == 3
    assert json.loads(text(out))["info"] == alone.dataset["info"]


def test_transparent_pixels_are_in_no_mask(tmp_path: Path) -> None:
    rgba = np.dstack([FOUR, np.full(FOUR.shape[:2], 255, np.uint8)])
    rgba[2:5, :, 3] = 0
    rgba[:, 8:16, 3] = 0  # every red pixel
    save(rgba, tmp_path / "p/a.png")
    assert kseg("run", "p", "--k", 4, *BOTH, cwd=tmp_path).returncode == 0
    assert check(tmp_path / "p-kseg") == {"a.png": 3}
    dataset = COCO(tmp_path / "p-kseg/annotations.json")
    covered = sum(dataset.annToMask(ann) for ann in dataset.anns.values())
    assert np.array_equal(covered, rgba[..., 3] > 0)


def test_two_sources_and_full_names(tmp_path: Path) -> None:
    for name in ("b/x.png", "a/x.png", "a/x.bmp"):
        save(FOUR, tmp_path / name)
    assert kseg("run", "b", "a", "-o", "out", "--full-names", *BOTH, cwd=tmp_path).returncode == 0
    assert list(check(tmp_path / "out")) == ["a/x.bmp", "a/x.png", "b/x.png"]


def test_the_same_bytes_again(photo_folder: Path) -> None:
    assert kseg("run", "p", *BOTH, cwd=photo_folder).returncode == 0
    out = photo_folder / "p-kseg"
    first, time = text(out), (out / "annotations.json").stat().st_mtime_ns
    assert kseg("run", "p", "--save", "coco", "--overwrite", "--workers", 3, cwd=photo_folder).returncode == 0
    assert (out / "annotations.json").stat().st_mtime_ns > time
    assert text(out) == first
    (out / "annotations.json").unlink()
    assert "6 images skipped" in kseg("run", "p", *BOTH, cwd=photo_folder).stdout
    assert text(out) == first


def test_images_come_and_change_and_go(tmp_path: Path) -> None:
    for name in "bd":
        save(FOUR, tmp_path / f"p/{name}.png")
    assert kseg("run", "p", *BOTH, cwd=tmp_path).returncode == 0
    out = tmp_path / "p-kseg"
    assert check(out) == {"b.png": 3, "d.png": 3}
    (tmp_path / "p/b.png").unlink()  # the outputs of b.png stay
    save(noise(8, 8), tmp_path / "p/c.png")
    save(flat(3, 3), tmp_path / "p/d.png")
    assert kseg("run", "p", *BOTH, cwd=tmp_path).returncode == 0
    assert check(out) == {"b.png": 3, "c.png": 3, "d.png": 1}
    time = (out / "annotations.json").stat().st_mtime_ns
    assert kseg("run", "p", "--save", "labels", *ONE, cwd=tmp_path).returncode == 0  # beside the rest
    assert kseg("run", "p", "--dry-run", "--overwrite", *BOTH, cwd=tmp_path).returncode == 0
    assert (out / "annotations.json").stat().st_mtime_ns == time
    save(noise(9, 9), tmp_path / "p/c.png")
    assert (
        kseg("run", "p", "--save", "masks", *ONE, cwd=tmp_path).returncode == 0
    )  # outdated outputs are removed
    assert [image["file_name"] for image in json.loads(text(out))["images"]] == ["b.png", "d.png"]
    assert "1 image, " in kseg("run", "p", *BOTH, cwd=tmp_path).stdout
    assert check(out) == {"b.png": 3, "c.png": 3, "d.png": 1}


def test_a_damaged_photo_keeps_its_annotations(tmp_path: Path) -> None:
    for name in "abc":
        save(FOUR, tmp_path / f"p/{name}.png")
    (tmp_path / "p/b.png").write_bytes((tmp_path / "p/a.png").read_bytes()[:-20])
    result = kseg("run", "p", *BOTH, cwd=tmp_path)
    assert result.returncode == 3
    assert check(tmp_path / "p-kseg") == {"a.png": 3, "c.png": 3}
    before = text(tmp_path / "p-kseg")
    (tmp_path / "p/c.png").write_bytes((tmp_path / "p/b.png").read_bytes())
    assert kseg("run", "p", *BOTH, cwd=tmp_path).returncode == 3
    assert text(tmp_path / "p-kseg") == before


def test_a_run_that_is_killed(tmp_path: Path) -> None:
    """No file lacks images, and the next run writes a whole file."""
    save_noise(tmp_path, 20)
    out = tmp_path / "p-kseg"
    assert kseg("run", "p", *BOTH, cwd=tmp_path).returncode == 0
    whole = text(out)
    process = begin(tmp_path, *BOTH, "--k", 4)
    wait_for_images(tmp_path, process, 24)
    process.kill()
    process.communicate(timeout=PATIENCE)
    wait_until_session_is_over(process.pid)
    assert not (out / "annotations.json").exists()
    assert kseg("run", "p", *BOTH, cwd=tmp_path).returncode == 0
    assert text(out) == whole
    assert len(check(out)) == 20


def test_a_run_that_is_interrupted(tmp_path: Path) -> None:
    save_noise(tmp_path, 90)
    process = begin(tmp_path, *BOTH)
    wait_for_images(tmp_path, process, 4)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert 4 <= len(check(tmp_path / "p-kseg")) < 90


def test_a_folder_that_goes_away(tmp_path: Path) -> None:
    """The run writes no file that lists no images."""
    save_noise(tmp_path, 90)
    process = begin(tmp_path, "--save", "coco", *ONE)
    wait_for_images(tmp_path, process, 4)
    out = tmp_path / "p-kseg"
    (out / "coco").rename(tmp_path / "gone")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert f"stopped early: {out}/coco is no longer there" in output
    assert not (out / "annotations.json").exists()


def test_damaged_annotations_and_different_names_are_reported(tmp_path: Path) -> None:
    """Files damaged by a power cut, of images that this run skips; clusters named by another palette."""
    for name in "abcd":
        save(FOUR, tmp_path / f"p/{name}.png")
    assert kseg("run", "p", *BOTH, cwd=tmp_path).returncode == 0
    out = tmp_path / "p-kseg"
    for name in "ab":
        (tmp_path / f"p/{name}.png").unlink()
    (out / "coco/a.json").write_bytes(bytes((out / "coco/a.json").stat().st_size))
    (out / "coco/b.json").write_text("{}")
    for name, called in (("c", "sky above"), ("d", "the ocean")):  # as long as the name before
        path = out / f"coco/{name}.json"
        path.write_text(path.read_text().replace("cluster 0", called).replace("cluster 1", "grassland"))
    (out / "coco/other.json").write_text("none of ours")
    (out / "annotations.json").unlink()
    result = kseg("run", "p", *BOTH, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (
        0,
        f"{out}/annotations.json lacks 2 images: {out}/coco/a.json is not the file that was written; "
        "--overwrite processes such images again\n"
        f"{out}/annotations.json: images have different names for cluster 0: "
        "sky above, the ocean\n",
    )
    dataset = json.loads(text(out))
    assert [image["file_name"] for image in dataset["images"]] == ["c.png", "d.png"]
    assert [category["name"] for category in dataset["categories"]] == ["cluster 0", "grassland", "cluster 2"]


def test_categories_have_the_names_of_the_palette(tmp_path: Path) -> None:
    """A cluster without pixels in an image has no annotation there."""
    save(FOUR, tmp_path / "p/a.png")
    save(flat(3, 3, (255, 255, 255)), tmp_path / "p/b.png")
    (tmp_path / "own.txt").write_text("#000000 ground\n#c80000\n#00fa00 a b\n#ffffff sky\n")
    assert kseg("run", "p", "--palette", "own.txt", *BOTH, cwd=tmp_path).returncode == 0
    dataset = COCO(tmp_path / "p-kseg/annotations.json")
    assert [category["name"] for category in dataset.cats.values()] == ["ground", "cluster 1", "a b", "sky"]
    areas = [
        [(ann["category_id"], ann["area"]) for ann in dataset.imgToAnns[number]] for number in dataset.imgs
    ]
    assert areas == [[(1, 192), (2, 64), (3, 64), (4, 64)], [(4, 9)]]


def test_a_foreign_file_stays(tmp_path: Path) -> None:
    save(FOUR, tmp_path / "p/a.png")
    (tmp_path / "p/annotations.json").write_text("{}")
    result = kseg("run", "p", "-o", "p", "--save", "coco", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "kseg-batch: p/annotations.json was not written by kseg-batch: move it away, or choose another -o.\n"
    )
    assert tree(tmp_path / "p") == ["a.png", "annotations.json"]


def test_without_pycocotools_the_command_that_brings_it(tmp_path: Path) -> None:
    save(FOUR, tmp_path / "p/a.png")
    told = kseg("run", "p", "--save", "coco", cwd=tmp_path, code=hide_modules("pycocotools"))
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == ("kseg-batch: --save coco needs pycocotools; to add it: pip install pycocotools\n")
    assert not (tmp_path / "p-kseg").exists()
