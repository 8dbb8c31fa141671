"""`kseg-batch bench` refuses wrong usage with one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bench_command import TINY, bench
from tests.support.faults import break_module, hide_modules


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--k", "2,x"), "--k must be numbers of clusters such as 2,3,8, not '2,x'."),
        (("--k", "300"), "--k must be from 1 to 256, not 300."),
        (
            ("--sizes", "big"),
            "--sizes must be megapixels or WIDTHxHEIGHT, such as 0.1,2,1920x1080, not 'big'.",
        ),
        (("--sizes", "0"), "--sizes must be from one pixel to 200 megapixels, not 0."),
        (("--images", "0"), "--images must be 1 or more, not 0."),
        (("--repeat", "0"), "--repeat must be 1 or more, not 0."),
        (("--threads", "0"), "--threads must be from 1 to 1024, not 0."),
        (("--budget", "nan"), "--budget must be a number of seconds above 0, not nan."),
        (
            ("--backend", "abacus"),
            "--backend must be one of cupy, numba-cuda, numba, opencv, not abacus.",
        ),
        (("--plot", "b.gif"), "--plot must be a file that ends in .png or .svg, not b.gif."),
        (("--json", "none/b.json"), "--json none/b.json: there is no folder none."),
        (("--json", "."), "--json must be a file: . is a folder."),
        (("--plot", "none/b.png"), "--plot none/b.png: there is no folder none."),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    result = bench(tmp_path, *arguments, exit_code=2)
    assert result.stdout == ""
    assert result.stderr == f"kseg-batch: {expected}\n"


def test_a_folder_without_photos_is_one_sentence(tmp_path: Path) -> None:
    stderr = bench(tmp_path, "nowhere", exit_code=1).stderr
    assert stderr == "kseg-batch: nowhere: there is no such folder.\n"
    (tmp_path / "photos").mkdir()
    assert "photos: no images there" in bench(tmp_path, "photos", exit_code=1).stderr
    (tmp_path / "photos/a.png").write_bytes(b"")
    stderr = bench(tmp_path, "photos", exit_code=1).stderr
    assert "photos: none of the images in it can be read: a.png was passed over: the file is empty." in stderr


def test_without_matplotlib_the_command_that_installs_it_is_printed(tmp_path: Path) -> None:
    stderr = bench(tmp_path, "--plot", "b.png", code=hide_modules("matplotlib"), exit_code=2).stderr
    assert stderr == "kseg-batch: --plot needs matplotlib; to add it: pip install matplotlib\n"


def test_a_named_backend_that_cannot_run_is_an_error(tmp_path: Path) -> None:
    break_module(tmp_path, "cupy")
    stderr = bench(tmp_path, *TINY, "--backend", "cupy", exit_code=2).stderr
    assert stderr.startswith("kseg-batch: cupy: ")
