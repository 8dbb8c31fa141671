"""The messages of a run, for people and for machines."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from kseg_batch import console
from kseg_batch.batch.progress import Log, Reporter
from kseg_batch.batch.storage.scan import Job
from kseg_batch.batch.workers.jobs import Outcome
from tests.support.commands import command_line, kseg
from tests.support.image_files import save
from tests.support.images import blocks, noise
from tests.support.outputs import manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(noise(9, 9), tmp_path / "p/a.png")
    save(blocks([(0, 0, 0), (9, 9, 9)]), tmp_path / "p/two.png")
    (tmp_path / "p/broken.jpg").write_text("text")
    return tmp_path


def test_json(folder: Path) -> None:
    result = kseg("run", "p", "--json", cwd=folder)
    assert result.returncode == 3
    *lines, last = map(json.loads, result.stdout.splitlines())
    by_name = {line["name"]: line for line in lines}
    assert {name: line["status"] for name, line in by_name.items()} == {
        "a": "done", "two": "done", "broken": "failed"
    }  # fmt: skip
    assert sorted(lines, key=str) == sorted(manifest(folder / "p-kseg"), key=str)
    summary = last["summary"]
    assert [summary[key] for key in ("images", "done", "failed", "skipped", "noted")] == [3, 2, 1, 0, 1]
    assert (summary["signal"], summary["stopped"]) == (None, None)
    assert "failed: p/broken.jpg: it is not an image" in result.stderr
    assert "2 images, " in result.stderr

    *lines, last = map(json.loads, kseg("run", "p", "--json", cwd=folder).stdout.splitlines())
    assert [line["status"] for line in lines].count("skipped") == 2
    assert {"source": str(folder / "p/a.png"), "status": "skipped", "reason": "done"} in lines
    assert last["summary"]["skipped"] == 2


def test_quiet_says_nothing_but_failures(folder: Path) -> None:
    result = kseg("run", "p", "-q", cwd=folder)
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr == "failed: p/broken.jpg: it is not an image, or of a format that is not read here\n"
    (folder / "p/broken.jpg").unlink()
    result = kseg("run", "p", "--quiet", cwd=folder)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_log_file_is_appended_to(folder: Path) -> None:
    for _ in range(2):
        kseg("run", "p", "--quiet", "--overwrite", "--log-file", "run.log", cwd=folder)
    lines = (folder / "run.log").read_text().splitlines()
    times, texts = zip(*(line.split(" ", 1) for line in lines), strict=True)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", time) for time in times)
    assert texts.count(f"begun: 3 images in p, to {folder}/p-kseg") == 2
    assert sum(text.startswith("done: p/a.png in 0.") for text in texts) == 2
    assert sum(text.endswith("it has 2 colours, so as many clusters") for text in texts) == 2
    assert sum(text.startswith("failed: p/broken.jpg: it is not an image") for text in texts) == 2
    assert sum(text == "1 image failed: listed above and in the manifest" for text in texts) == 2


@pytest.mark.parametrize(("path", "code"), [("nowhere/run.log", 1), ("/dev/full", 3)])
def test_a_log_file_that_cannot_be_written(folder: Path, path: str, code: int) -> None:
    result = kseg("run", "p", "--quiet", "--log-file", path, cwd=folder)
    assert result.returncode == code
    reason = "No such file or directory." if code == 1 else "No space left on device; continuing without it"
    assert f"kseg-batch: {path} cannot be written: {reason}" in result.stderr
    assert (folder / "p-kseg").exists() == (code == 3)


def test_standard_output_that_is_closed(folder: Path) -> None:
    """As by `| head -1`: the journal has every image that was done, and the next run goes on."""
    for i in range(40):
        save(noise(9, 9, seed=i), folder / f"p/{i}.png")
    command = command_line("run", "p", "--no-gpu", "--json", "--save", "labels")
    done = subprocess.run(
        ["sh", "-c", f"{shlex.join(command)} | head -1"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr
    kseg("run", "p", "--save", "labels", cwd=folder)
    assert len(manifest(folder / "p-kseg")) == 43


def outcome(error: str | None = None) -> Outcome:
    return Outcome(Job(Path("a.png"), Path("a")), 0.1, error=error)


def test_an_occasional_plain_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
    with Reporter(3, Log(None)) as reporter:
        for error in (None, "it is empty", None):
            reporter.finished(outcome(error), {})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3  # the last image needs none: the summary follows
    assert re.fullmatch(r"1 of 3 images, [\d.]+ images/s, 0 failed, 0:00:00 left", lines[0])
    assert lines[1] == "failed: a.png: it is empty"
    assert re.fullmatch(r"2 of 3 images, [\d.]+ images/s, 1 failed, 0:00:00 left", lines[2])


def test_no_line_before_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter(2, Log(None)) as reporter:
        reporter.finished(outcome(), {})
    assert capsys.readouterr().err == ""


def test_names_of_any_kind_reach_the_log(tmp_path: Path) -> None:
    save(noise(4, 4), tmp_path / "p/a.png")
    (tmp_path / "p/a.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/p/caf\xe9.png"))
    assert kseg("run", "p", "--log-file", "run.log", cwd=tmp_path).returncode == 0
    assert "done: p/caf\\udce9.png" in (tmp_path / "run.log").read_text()


EVIL = "a\x1b[31mEVIL\x07\nkseg-batch: forged\r\x7f\x9b\u2028\u202e.png"
ESCAPED = r"a\x1b[31mEVIL\x07\nkseg-batch: forged\r\x7f\x9b\u2028\u202e.png"
ORDINARY = "Größe 日本語 \U0001f469\u200d\U0001f680 at 9.41\u202fAM.png"


@pytest.mark.parametrize("text", ["a b", ORDINARY, "\u0645\u06cc\u200c\u062e", "\xa0"])
def test_ordinary_text_is_printed_as_it_is(text: str) -> None:
    assert console.printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"), [(EVIL, ESCAPED), ("\ud8ff", r"\ud8ff"), ("\t\0", r"\t\x00"), ("\u2066", r"\u2066")]
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert console.printable(text) == shown


def only_lines_of_text(*texts: str) -> list[str]:
    """The lines of outputs, in which nothing is hidden."""
    lines = [line for text in texts for line in text.split("\n")]
    assert all(console.printable(line) == line for line in lines), lines
    return lines


def test_no_file_name_forges_a_line(tmp_path: Path) -> None:
    """Of a run, a log, a plan, a fit and their errors."""
    for name in (EVIL, ORDINARY):
        (tmp_path / "p" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "p" / name).write_text("text")
    save(noise(9, 9), tmp_path / "p/x.png")
    result = kseg("run", "p", "-o", "out\x1b[2J", "--log-file", "run.log", cwd=tmp_path)
    lines = only_lines_of_text(result.stdout, result.stderr, (tmp_path / "run.log").read_text())
    reason = "it is not an image, or of a format that is not read here"
    failed = {line for line in lines if line.startswith("failed")}
    assert failed == {f"failed: p/{name}: {reason}" for name in (ORDINARY, ESCAPED)}
    assert r"manifest   out\x1b[2J/manifest.jsonl" in lines
    assert not any(line.startswith("kseg-batch: forged") for line in lines)
    result = kseg("run", "p", "-o", "new", "--dry-run", cwd=tmp_path)
    assert f"do   p/{ESCAPED}: new" in only_lines_of_text(result.stdout, result.stderr)
    result = kseg("fit", "p", "--k", 1, cwd=tmp_path)
    assert f"failed: p/{ESCAPED}: {reason}" in only_lines_of_text(result.stdout, result.stderr)
    commands = ("run", "none\x1b\n"), ("show", EVIL, "--save", "a.png"), ("bench", "none\x1b"), ("\x1b[31m",)
    for command in commands:
        result = kseg(*command, cwd=tmp_path)
        assert result.returncode in (1, 2)
        assert len(list(filter(None, only_lines_of_text(result.stdout, result.stderr)))) == 1


def test_colliding_names_are_listed_a_line_each(tmp_path: Path) -> None:
    for name in ("a\nb.png", "a\nb.jpg", "c.png", "c.jpg"):
        save(noise(4, 4), tmp_path / "p" / name)
    result = kseg("run", "p", cwd=tmp_path)
    assert result.stderr.splitlines()[1:] == [r"  p/a\nb.jpg, p/a\nb.png", "  p/c.jpg, p/c.png"]
