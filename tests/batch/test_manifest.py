"""The journal: entries are read back also from a file that is torn, damaged or foreign."""

import subprocess
import sys
from pathlib import Path

import pytest

from kseg_batch.batch.manifest import Journal, Manifest
from kseg_batch.errors import OutputError
from tests.support.outputs import example_entry, manifest


def test_written_entries_are_read_back(tmp_path: Path) -> None:
    odd = example_entry(
        "caf\udce9\n\U0001f600", version=None, status="failed", error="it is empty", outputs={}
    )
    with Journal(tmp_path) as journal:
        journal.add(example_entry("a"))
        journal.add(odd)
        assert journal.last("a") == example_entry("a")
    with Manifest(tmp_path) as reader:
        assert reader.last("a") == example_entry("a")
        assert reader.last(odd.name) == odd
        assert reader.last("b") is None
    assert len(manifest(tmp_path)) == 2


def test_only_the_last_line_of_an_image_counts_and_stays(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for name in "abc":
            journal.add(example_entry(name, status="started"))
        for name in "ca":
            journal.add(example_entry(name))
        assert len(manifest(tmp_path)) == 5
    assert [(line["name"], line["status"]) for line in manifest(tmp_path)] == [
        ("b", "started"),
        ("c", "done"),
        ("a", "done"),
    ]
    with Journal(tmp_path) as journal:
        assert journal.last("b") == example_entry("b", status="started")
        assert journal.last("a") == example_entry("a")


@pytest.mark.parametrize("torn", [b"{", b'{"name": "b", "sour', b"\0" * 50, b"\0" * 10 + b"{"])
def test_a_torn_last_line_is_mended(tmp_path: Path, torn: bytes) -> None:
    with Journal(tmp_path) as journal:
        journal.add(example_entry("a"))
    path = tmp_path / "manifest.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with Manifest(tmp_path) as reader:
        assert reader.last("a") == example_entry("a")
        assert reader.last("b") is None
    assert path.read_bytes() == whole + torn  # a reader changes nothing
    with Journal(tmp_path) as journal:
        assert path.read_bytes() == whole
        journal.add(example_entry("b"))
    assert [line["name"] for line in manifest(tmp_path)] == ["a", "b"]


def test_every_length_of_the_file_can_be_gone_on_with(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for name in "abc":
            journal.add(example_entry(name))
    path = tmp_path / "manifest.jsonl"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with Journal(tmp_path) as journal:
            for i, name in enumerate("abc"):
                known = whole[:length].count(b"\n") > i
                assert (journal.last(name) is not None) == known


def test_zeros_that_a_power_cut_left(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.add(example_entry("a"))
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(path.read_bytes() + b"\0" * 4096 + b"\n")
    with Journal(tmp_path) as journal:
        assert journal.last("a") == example_entry("a")
        journal.add(example_entry("b"))
    assert [line["name"] for line in manifest(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize("line", ['{"source": "a.jpg", "status": "done"}', "[1]", "hello", '{"name": 3}'])
def test_a_foreign_file_is_left_alone(tmp_path: Path, line: str) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text(line + "\n")
    for kind in (Manifest, Journal):
        with pytest.raises(OutputError, match="line 1, was not written by this version: move the file away"):
            kind(tmp_path)
    assert path.read_text() == line + "\n"


def test_a_device_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").symlink_to("/dev/zero")
    with pytest.raises(OutputError, match="is not a regular file"):
        Journal(tmp_path)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    begin = "import sys, pathlib; from kseg_batch.batch.manifest import Journal"
    code = f"{begin}; Journal(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with Journal(tmp_path):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "OutputError: Another run is writing to" in result.stderr
    subprocess.run(command, check=True)


def test_a_full_disk_leaves_no_torn_line(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: writing stops in the middle of a line."""
    code = """
import pathlib, resource, sys
from kseg_batch.errors import OutputGoneError
from tests.support.outputs import example_entry
from kseg_batch.batch.manifest import Journal
out = pathlib.Path(sys.argv[1])
with Journal(out) as journal:
    journal.add(example_entry("a"))
    size = (out / "manifest.jsonl").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, size + 50))
    try:
        journal.add(example_entry("b"))
    except OutputGoneError as error:
        print(error)
    assert (out / "manifest.jsonl").stat().st_size == size
    assert journal.last("a") == example_entry("a") and journal.last("b") is None
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "manifest.jsonl cannot be written: File too large" in result.stdout
    assert [line["name"] for line in manifest(tmp_path)] == ["a"]
