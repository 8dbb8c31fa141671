"""The cache of compiled kernels: in no state does it change a result, fail a run, or slow it unsaid."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from kseg_batch.backends.registry import load
from kseg_batch.kernels import numba_cpu, store
from kseg_batch.processes import PRIVATE_FOLDER, private_folder
from tests.support.commands import begin, command_line, kseg, wait_for_images
from tests.support.faults import NOBODY, as_nobody, as_ordinary_user, on_small_disk
from tests.support.image_files import save, save_noise
from tests.support.images import noise
from tests.support.outputs import pngs
from tests.support.paths import ROOT
from tests.support.processes import PATIENCE, wait_until_session_is_over

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may act as another user")

USE = """
import json, os, sys, numpy as np
from kseg_batch.kernels.store import STORE
from kseg_batch.segmentation.region_cleaner import count_labels
counts = count_labels(np.arange(8, dtype=np.uint8) % 3, 3)
print(json.dumps([counts.tolist(), STORE.loaded.total(), STORE.compiled, STORE.kept.total()]))
"""
"""A process that uses one small kernel, which is compiled in a third of a second."""

LOADED = (1, 0, 0)
KEPT = (0, 1, 1)
LOST = (0, 1, 0)
"""Numbers of kernels that such a process loads, compiles, and keeps of those."""


class Used(NamedTuple):
    """What a process did that uses one kernel, whose result was right."""

    numbers: tuple[int, int, int]
    """Kernels that were loaded, compiled, and kept."""
    warning: str
    """The text of the one warning; empty if there was none."""


def python(folder: Path | None, **environment: str) -> tuple[list[str], dict[str, str]]:
    """The command that uses one kernel with a cache folder, and its environment."""
    place = {} if folder is None else {"NUMBA_CACHE_DIR": str(folder)}
    return [sys.executable, "-c", USE], {**os.environ, "PYTHONPATH": str(ROOT), **place, **environment}


def outcome(output: str, errors: str) -> Used:
    """What the process printed, which has to be right, and its warning, which has to be the only one."""
    counts, *numbers = json.loads(output)
    assert counts == [3, 3, 2]
    assert errors.count("Warning: ") == errors.count("KernelCacheWarning: ") <= 1, errors
    warning = errors.partition("KernelCacheWarning: ")[2].partition("\n")[0]
    return Used((numbers[0], numbers[1], numbers[2]), warning)


def use(folder: Path | None, wrap: Callable[[list[str]], list[str]] = list, **environment: str) -> Used:
    """Use one kernel in a process of its own."""
    command, variables = python(folder, **environment)
    done = subprocess.run(
        wrap(command), env=variables, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return outcome(done.stdout, done.stderr)


def unread(folder: Path, reason: str) -> str:
    return f"compiled kernels in {folder}/kseg-batch are {reason}, and not read: they are compiled anew"


def damaged(folder: Path) -> str:
    return f"compiled kernels in {folder}/kseg-batch are damaged: they are compiled anew"


def not_kept(folder: Path, reason: str) -> str:
    return (
        f"the compiled kernels cannot be kept in {folder}/kseg-batch ({reason}): they are compiled for this "
        "run alone; set NUMBA_CACHE_DIR to another folder"
    )


@pytest.fixture(scope="session")
def one_kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the entry of the one kernel."""
    folder = tmp_path_factory.mktemp("cache")
    assert use(folder) == Used(KEPT, "")
    return folder


@pytest.fixture
def kept(one_kernel: Path, tmp_path: Path) -> Path:
    """A copy of this cache."""
    return Path(shutil.copytree(one_kernel, tmp_path / "cache"))


def entry_of(folder: Path) -> Path:
    (entry,) = folder.glob("kseg-batch/*.kernel")
    return entry


# ---- entries ---------------------------------------------------------------------------------------------


def test_a_second_process_loads_what_the_first_compiled(kept: Path) -> None:
    assert use(kept) == Used(LOADED, "")


def test_all_kernels_of_the_backend_are_loaded_and_none_is_compiled() -> None:
    """By Numba's own account, of a process after this one, which has compiled them if need be."""
    code = """
import numba.core.event as event
compiled = []
class Listener(event.Listener):
    def on_start(self, event): compiled.append(str(event.data["dispatcher"]))
    def on_end(self, event): pass
event.register("numba:compile", Listener())
from kseg_batch.backends.registry import load
from kseg_batch.kernels import numba_cpu
load("numba").warm_up()
kernels = [kernel for kernel in vars(numba_cpu).values() if getattr(kernel, "overloads", None)]
print(len(kernels), sum(sum(kernel.stats.cache_hits.values()) for kernel in kernels), compiled)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "17 17 []\n"
    assert done.stderr == ""


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def emptied(_: bytes) -> bytes:
    return b""


def flipped(data: bytes) -> bytes:
    return data[:999] + bytes([data[999] ^ 1]) + data[1000:]


@pytest.mark.parametrize("damage", [truncated, emptied, flipped])
def test_damage_is_found(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    store.write_entry(tmp_path / "leaf", "one.kernel", bytes(range(250)) * 8)
    assert store.read_entry(tmp_path / "leaf", "one.kernel") == bytes(range(250)) * 8
    entry = tmp_path / "leaf/one.kernel"
    entry.write_bytes(damage(entry.read_bytes()))
    with pytest.raises(store.DamagedError):
        store.read_entry(tmp_path / "leaf", "one.kernel")


def test_no_entry_passes_for_another(tmp_path: Path) -> None:
    store.write_entry(tmp_path / "leaf", "one.kernel", b"content")
    (tmp_path / "leaf/one.kernel").rename(tmp_path / "leaf/two.kernel")
    with pytest.raises(store.DamagedError):
        store.read_entry(tmp_path / "leaf", "two.kernel")
    assert store.read_entry(tmp_path / "leaf", "one.kernel") is None


def test_a_damaged_entry_is_compiled_anew_and_replaced(kept: Path) -> None:
    entry = entry_of(kept)
    entry.write_bytes(truncated(entry.read_bytes()))
    assert use(kept) == Used(KEPT, damaged(kept))
    assert store.read_entry(entry.parent, entry.name)


def test_damage_of_many_entries_is_told_once(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            store.STORE.report_damage(tmp_path / "kseg-batch")
    assert [str(warning.message) for warning in caught] == [damaged(tmp_path)]


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o077])
def test_nobody_else_may_write_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    former = os.umask(mask)
    try:
        store.write_entry(tmp_path / "cache/leaf", "one.kernel", b"content")
    finally:
        os.umask(former)
    assert (tmp_path / "cache/leaf").stat().st_mode & 0o777 == 0o755 & ~mask
    assert (tmp_path / "cache/leaf/one.kernel").stat().st_mode & 0o777 == 0o644 & ~mask
    assert store.read_entry(tmp_path / "cache/leaf", "one.kernel") == b"content"


def test_an_entry_that_others_may_write_is_not_read(kept: Path) -> None:
    entry = entry_of(kept)
    entry.chmod(0o664)
    assert use(kept) == Used(KEPT, unread(kept, "writable by other users"))
    assert store.read_entry(entry.parent, entry.name)


def test_a_folder_that_others_may_write_is_neither_read_nor_written(kept: Path) -> None:
    (kept / "kseg-batch").chmod(0o775)
    before = entry_of(kept).stat()
    assert use(kept) == Used(LOST, not_kept(kept, "writable by other users"))
    assert entry_of(kept).stat() == before


@ROOT_ONLY
def test_entries_of_another_user_are_not_read(kept: Path) -> None:
    os.chown(entry_of(kept), NOBODY, NOBODY)
    assert use(kept) == Used(KEPT, unread(kept, "owned by another user"))
    os.chown(kept / "kseg-batch", NOBODY, NOBODY)
    assert use(kept) == Used(LOST, not_kept(kept, "owned by another user"))


def test_old_entries_of_other_versions_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "leaf"
    names = [f"{name}.kernel" for name in ("a-old-1", "b-old-1", "a-new-1", "b-new-1")]
    for name in (*names, "a-new-1.kernel.0123abcd"):
        store.write_entry(folder, name, b"content")
    (folder / "other").touch()
    long_ago = time.time() - store.OLD_SECONDS - 60
    for name in ("a-old-1.kernel", "a-new-1.kernel", "a-new-1.kernel.0123abcd", "other"):
        os.utime(folder / name, (long_ago, long_ago))
    store.remove_old(folder, "-new-")
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names[1:], "other"])


# ---- folders ---------------------------------------------------------------------------------------------


def test_the_folders_that_keep_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    beside = Path(store.__file__).parent / "__pycache__/kseg-batch"
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.kept_folders() == [beside, tmp_path / ".cache/kseg-batch"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert store.kept_folders() == [beside, tmp_path / "xdg/kseg-batch"]
    monkeypatch.setenv("HOME", "/nonexistent")
    assert store.kept_folders() == [beside]
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "named"))
    assert store.kept_folders() == [tmp_path / "named/kseg-batch"]


@ROOT_ONLY
def test_root_leaves_nothing_in_the_home_of_another_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    os.chown(tmp_path, NOBODY, NOBODY)
    assert len(store.kept_folders()) == 1


def test_a_read_only_folder_is_read(kept: Path) -> None:
    (kept / "kseg-batch").chmod(0o555)
    assert use(kept, as_ordinary_user) == Used(LOADED, "")
    entry_of(kept).unlink()
    assert use(kept, as_ordinary_user) == Used(LOST, not_kept(kept, "Permission denied"))


@ROOT_ONLY
def test_the_kernels_of_root_are_read_by_a_user_without_a_home(kept: Path) -> None:
    assert use(kept, as_nobody, HOME="/nonexistent") == Used(LOADED, "")


@ROOT_ONLY
def test_a_user_without_a_name_and_a_home_compiles(tmp_path: Path) -> None:
    def as_nameless(command: list[str]) -> list[str]:
        return ["env", "-u", "HOME", *(word.replace(str(NOBODY), "54321") for word in as_nobody(command))]

    folder = Path("/nonexistent/cache")
    assert use(folder, as_nameless) == Used(LOST, not_kept(folder, "Permission denied"))


@ROOT_ONLY
def test_a_full_disk_keeps_nothing(tmp_path: Path) -> None:
    try:
        found = use(tmp_path, lambda command: on_small_disk(command, tmp_path, "16k"))
    except AssertionError:
        if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
            pytest.skip("a file system cannot be mounted here")
        raise
    assert found == Used(LOST, not_kept(tmp_path, "No space left on device"))


def test_without_compilation(tmp_path: Path) -> None:
    assert use(tmp_path, NUMBA_DISABLE_JIT="1") == Used((0, 0, 0), "")
    assert list(tmp_path.iterdir()) == []


# ---- processes -------------------------------------------------------------------------------------------


def use_at_once(folder: Path, number: int) -> list[Used]:
    """Use one kernel in several processes at once."""
    command, variables = python(folder)
    with ExitStack() as cleanup:
        processes = [
            cleanup.enter_context(
                subprocess.Popen(
                    command, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
                )
            )
            for _ in range(number)
        ]
        return sorted(outcome(*process.communicate(timeout=120)) for process in processes)


def test_of_two_processes_one_compiles(tmp_path: Path) -> None:
    assert use_at_once(tmp_path, 2) == [Used(KEPT, ""), Used(LOADED, "")]


def test_the_processes_of_a_run_share_its_private_folder(tmp_path: Path) -> None:
    """Where nothing can be kept, one process compiles for all. The folder is of this user alone."""
    (tmp_path / "file").touch()
    place = tmp_path / "file/cache"
    with private_folder():
        private = Path(os.environ[PRIVATE_FOLDER])
        assert private.stat().st_mode & 0o777 == 0o700
        compiled, loaded = sorted(use_at_once(place, 2))
        assert compiled == Used(LOST, not_kept(place, "Not a directory"))
        assert loaded == Used(LOADED, "")
    assert not private.exists()
    assert PRIVATE_FOLDER not in os.environ


def test_without_a_place_for_temporary_files_a_run_has_no_private_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    with private_folder():
        assert os.environ[PRIVATE_FOLDER] == ""
        assert store.all_folders() == store.kept_folders()


# ---- runs ------------------------------------------------------------------------------------------------


@pytest.fixture
def all_kernels(tmp_path: Path) -> Path:
    """A copy of the kernels that this process has loaded or compiled for all tests."""
    prefix = numba_cpu.add_fulls._cache.prefix(numba_cpu.add_fulls.targetctx)
    version = prefix.removeprefix("numba_cpu.add_fulls")
    (folder,) = (folder for folder in store.kept_folders() if any(folder.glob(f"{prefix}*")))
    (tmp_path / "cache/kseg-batch").mkdir(parents=True)
    for entry in folder.glob(f"numba_cpu.*{version}*.kernel"):
        shutil.copy(entry, tmp_path / "cache/kseg-batch")
    return tmp_path / "cache"


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, bytes]:
    """The outputs of an ordinary run on four photos, of which some are decoded to read-only arrays."""
    for i, kind in enumerate(("png", "bmp", "png", "jpg")):
        save(noise(60, 80, seed=i), tmp_path / f"p/{i}.{kind}")
    assert kseg("run", "p", "-o", "plain", cwd=tmp_path).stderr == ""
    return pngs(tmp_path / "plain")


def run_with(folder: Path, tmp_path: Path, wrap: Callable[[list[str]], list[str]] = list) -> Any:
    """Run with a cache folder and two workers; nothing may be left of the run's temporary files."""
    (tmp_path / "tmp").mkdir(exist_ok=True)
    (tmp_path / "tmp").chmod(0o777)
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out").chmod(0o777)
    command = command_line("run", "p", "-o", "out", "--no-gpu", "--workers", 2, "--overwrite")
    result = subprocess.run(
        wrap(command),
        cwd=tmp_path,
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder), "TMPDIR": str(tmp_path / "tmp")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "tmp").iterdir()) == []
    return result


@ROOT_ONLY
def test_a_run_with_the_kernels_of_an_image(
    tmp_path: Path, all_kernels: Path, expected: dict[str, bytes]
) -> None:
    """Root's kernels, another user without a home, and nothing to say."""
    result = run_with(
        all_kernels, tmp_path, lambda command: ["env", "HOME=/nonexistent", *as_nobody(command)]
    )
    assert result.stderr == ""
    assert pngs(tmp_path / "out") == expected


def test_a_run_with_damaged_kernels_says_so_once(
    tmp_path: Path, all_kernels: Path, expected: dict[str, bytes]
) -> None:
    entries = [entry for name in ("add_fulls", "mean_points") for entry in all_kernels.glob(f"*/*.{name}-*")]
    assert len(entries) == 2
    for entry in entries:
        entry.write_bytes(truncated(entry.read_bytes()))
    assert run_with(all_kernels, tmp_path).stderr == damaged(all_kernels) + "\n"
    assert pngs(tmp_path / "out") == expected
    assert all(store.read_entry(entry.parent, entry.name) for entry in entries)


COUNT = """
import os, numba.core.event as event
class Listener(event.Listener):
    def on_start(self, event):
        with open(os.environ["COMPILED"], "a") as file: file.write(event.data["dispatcher"].__name__ + "\\n")
    def on_end(self, event): pass
event.register("numba:compile", Listener())
"""


def test_a_run_that_cannot_keep_its_kernels_compiles_them_once(
    tmp_path: Path, all_kernels: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only folder without one kernel; each compilation in any process leaves a line."""
    (missing,) = all_kernels.glob("kseg-batch/*.add_fulls-*")
    missing.unlink()
    (all_kernels / "kseg-batch").chmod(0o555)
    (tmp_path / "sitecustomize.py").write_text(COUNT)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    monkeypatch.setenv("COMPILED", str(tmp_path / "compiled"))
    result = run_with(all_kernels, tmp_path, as_ordinary_user)
    assert result.stderr == not_kept(all_kernels, "Permission denied") + "\n"
    assert pngs(tmp_path / "out") == expected
    compiled = (tmp_path / "compiled").read_text().split()
    assert compiled.count("add_fulls") == 1
    assert set(compiled) == {"add_fulls", "find_sorted"}  # a function that it calls


def test_a_fit_with_damaged_kernels_says_so_once(tmp_path: Path, all_kernels: Path) -> None:
    """Of the workers, and of the process that clusters."""
    save(noise(20, 30), tmp_path / "p/a.png")
    for name in ("add_fulls", "mean_points"):
        (entry,) = all_kernels.glob(f"*/*.{name}-*")
        entry.write_bytes(b"")
    result = kseg("fit", "p", cwd=tmp_path, NUMBA_CACHE_DIR=str(all_kernels))
    assert (result.returncode, result.stderr) == (0, damaged(all_kernels) + "\n")


@ROOT_ONLY
def test_a_run_with_a_full_cache(tmp_path: Path, expected: dict[str, bytes], soak: bool) -> None:
    """All kernels are compiled, in 20 seconds, and some of them can be kept."""
    if not soak:
        pytest.skip("20 seconds; run by --soak")
    (tmp_path / "disk").mkdir()
    result = run_with(
        tmp_path / "disk", tmp_path, lambda command: on_small_disk(command, tmp_path / "disk", "400k")
    )
    compiling, warning = result.stderr.splitlines()
    assert compiling.startswith("compiling the kernels")
    assert warning == not_kept(tmp_path / "disk", "No space left on device")
    assert pngs(tmp_path / "out") == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_removes_its_private_folder(tmp_path: Path, number: signal.Signals) -> None:
    """After SIGKILL, its workers do."""
    save_noise(tmp_path, 400)
    (tmp_path / "tmp").mkdir()
    process = begin(tmp_path, "--workers", 1, TMPDIR=str(tmp_path / "tmp"))
    wait_for_images(tmp_path, process, 2)
    (private,) = (tmp_path / "tmp").iterdir()
    assert private.stat().st_mode & 0o777 == 0o700
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    wait_until_session_is_over(process.pid)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_read_only_and_other_pixels_share_a_compiled_kernel() -> None:
    image = noise(5, 6, seed=1)
    frozen = image.copy()
    frozen.flags.writeable = False
    for pixels in (image, frozen, image[::-1], image[..., ::-1]):
        load("numba").histogram(np.asarray(pixels))
    assert len(numba_cpu.count_colors.overloads) == 1
