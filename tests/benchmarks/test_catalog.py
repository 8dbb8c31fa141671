"""The catalogue of benchmarks: complete, true to the documentation, and runnable as a whole."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
import typer

from benchmarks.__main__ import WIDTH, listing
from benchmarks.catalog import BENCHMARKS, GPU, Benchmark, Need
from benchmarks.photos import packaged_photos
from benchmarks.run_all import Runner, result_table
from kseg_batch.cli import app
from tests.support.docs import ALL_PAGES
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DOCS = re.sub(r" \\\n +", " ", ALL_PAGES)
COMMANDS = [command for benchmark in BENCHMARKS for command in benchmark.commands]
MODULES = {module for command in COMMANDS for module in re.findall(r"^python -m (\S+)", command)}
RESULTS = ROOT / "benchmarks" / "results"


def run_all(*words: object) -> subprocess.CompletedProcess[str]:
    """Run `python -m benchmarks all`."""
    command = [sys.executable, "-m", "benchmarks", "all", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


def statuses(printed: str) -> dict[str, str]:
    """Return the status of each benchmark in the table at the end."""
    table = printed.rpartition("\nbenchmark ")[2].splitlines()[1:-1]
    return {text.split()[0]: text.split()[1] for text in table if not text.startswith(" ")}


def test_every_program_is_in_the_catalogue() -> None:
    folder = ROOT / "benchmarks"
    files = [folder / "gpu_trial.py", folder / "photos.py", folder / "gpu" / "plot.py"]
    files += [file for name in ("speed", "figures", "studies") for file in (folder / name).glob("*.py")]
    programs = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in files
        if '__name__ == "__main__"' in file.read_text(encoding="utf-8")
    }
    assert programs == MODULES
    assert len({benchmark.name for benchmark in BENCHMARKS}) == len(BENCHMARKS)


@pytest.mark.parametrize("entry", BENCHMARKS, ids=lambda entry: entry.name)
def test_every_command_has_help_with_its_options(
    entry: Benchmark, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in entry.commands:
        program, *words = shlex.split(f"{command} {entry.quick}")
        if program == "make":
            assert f"\n{words[0]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
            continue
        if program == "kseg-batch":
            parameters = typer.main.get_command(app).commands[words[0]].params  # type: ignore[attr-defined]
            known = [flag for parameter in parameters for flag in parameter.opts]
        else:
            monkeypatch.setattr(sys, "argv", [words[1], "--help"])
            with pytest.raises(SystemExit) as exit_of_help:
                import_module(words[1]).main()
            assert exit_of_help.value.code == 0
            printed = capsys.readouterr().out
            assert f"usage: python -m {words[1]}" in printed
            known = re.findall(r"--[\w-]+", printed)
        assert {word for word in words if word.startswith("--")} <= set(known)


def test_every_benchmark_command_of_the_documentation_is_in_the_catalogue() -> None:
    blocks = re.findall(
        r"^    (python -m benchmarks.*|kseg-batch .*benchmarks/results.*)$", DOCS, re.MULTILINE
    )
    own = {"python -m benchmarks", "python -m benchmarks all --photos DIR"}
    assert len(blocks) > 10
    assert set(blocks) - own <= set(COMMANDS)
    inline = re.findall(r"`python -m (benchmarks\.[\w.]+)[^`]*`", DOCS)
    assert len(inline) > 5
    assert set(inline) <= MODULES


def test_every_result_file_is_written_by_one_benchmark() -> None:
    written = [name for benchmark in BENCHMARKS for name in benchmark.writes if GPU not in benchmark.needs]
    assert sorted(written) == sorted(path.name for path in RESULTS.iterdir() if not path.match("gpu-*.json"))
    assert set(re.findall(r"\((?:\.\./)?benchmarks/results/(.*?)\)", DOCS)) <= set(written)


def test_the_list_fits_a_terminal_and_has_every_command() -> None:
    lines = listing()
    assert max(map(len, lines)) <= WIDTH
    text = re.sub(r" \\\n +", " ", "\n".join(lines))
    assert all(command in text for command in COMMANDS)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == lines


def test_some_benchmarks_run_at_the_smallest_sizes(tmp_path: Path) -> None:
    """One step fails, one is skipped, and the others go on."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    (photos / "broken.jpg").write_bytes(b"no image")
    names = "tutorial,landscape,plots"
    done = run_all("--photos", photos, "--out", out, "--quick", "--only", names)
    assert done.returncode == 1
    assert statuses(done.stdout) == {"tutorial": "failed", "landscape": "done", "plots": "failed"}
    assert "tutorial: failed: benchmarks.speed.tutorial: " in done.stdout
    assert "plots: failed: no file was written" in done.stdout
    assert {path.name for path in out.iterdir()} == {"scene.jpg", "keep.jpg"}

    (photos / "broken.jpg").write_bytes(packaged_photos("sklearn")[0].read_bytes())
    done = run_all("--photos", photos, "--out", out, "--quick", "--only", names)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(statuses(done.stdout).values()) == {"done"}
    assert {path.name for path in out.iterdir()} == {"scene.jpg", "keep.jpg", "tutorial.json", "tutorial.png"}

    done = run_all("--out", out, "--quick", "--only", names)
    assert done.returncode == 0
    assert statuses(done.stdout) == {"tutorial": "skipped", "landscape": "done", "plots": "done"}
    assert "tutorial: skipped: photos are needed: --photos DIR" in done.stdout


def test_all_benchmarks_run_at_the_smallest_sizes(tmp_path: Path, soak: bool) -> None:
    if not soak:
        pytest.skip("two minutes or more; run by --soak")
    photos = tmp_path / "photos"
    subprocess.run([sys.executable, "-m", "benchmarks.photos", photos], cwd=ROOT, check=True)
    done = run_all("--photos", photos, "--out", tmp_path / "out", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(statuses(done.stdout).values()) == {"done"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--photos", "missing"], "missing: there is no such folder."),
        (["--photos", "kernels"], "kernels: there is no photo in this folder."),
        (["--only", "tutorial,nothing"], "No benchmark that writes a file has the name nothing; "),
        (["--quick"], "--quick needs --out: "),
        (["--out", "README.md/out"], "README.md/out cannot be made: "),
    ],
)
def test_wrong_usage_is_one_sentence(words: list[str], sentence: str) -> None:
    done = run_all(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"python -m benchmarks: {sentence}")
    assert done.stderr.count("\n") == 1


def test_a_missing_need_skips_a_benchmark(tmp_path: Path) -> None:
    need = Need("a package", lambda: "it is not installed")
    runner = Runner(tmp_path, None, [], quick=False)
    runner.run([Benchmark("one", "One.", ("python -c pass",), ("one.json",), (need,))])
    assert [(result.status, result.text) for result in runner.results] == [("skipped", "it is not installed")]
    assert all(len(text) <= WIDTH for text in result_table(runner.results))


def test_the_photos_of_the_readme_are_chosen_where_they_are(tmp_path: Path) -> None:
    """Printed by a command with every placeholder, in the folder where it runs."""
    folder = tmp_path / "photos"
    (folder / "nature").mkdir(parents=True)
    for name in ("Aqua", "Dune", "Wood"):
        (folder / "nature" / f"{name}.jpg").touch()
    photos = sorted(folder.rglob("*.jpg"))
    code = (
        "import pathlib, sys; links = sorted(link.stem for link in pathlib.Path('PHOTOS').rglob('*.jpg')); "
        "pathlib.Path(sys.argv[1]).write_text(repr([sys.argv[2:], links]))"
    )
    command = f'python -c "{code}" benchmarks/results/found.txt PHOTO... PHOTO'
    for names, expected in (
        (("Wood", "Aqua"), ["Aqua", "Wood"]),
        (("Wood", "Garden"), ["Aqua", "Dune"]),
        ((), ["Aqua", "Dune", "Wood"]),
    ):
        runner = Runner(tmp_path, folder, photos, quick=False)
        runner.run([Benchmark("one", "One.", (command,), ("found.txt",), photos=names)])
        assert [result.status for result in runner.results] == ["done"]
        paths = [str(folder / "nature" / f"{name}.jpg") for name in expected]
        assert (tmp_path / "found.txt").read_text() == repr([[*paths, paths[0]], expected])
