"""The trial of a GPU: after any failure of a step the others go on, and a wrong result is found and named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks import gpu_trial
from benchmarks.gpu import correctness, experiments, limits, peer_comparison, profile, stages
from benchmarks.gpu.findings import DifferenceError, Findings, SkippedError, StepError
from benchmarks.gpu.report import step_table
from benchmarks.gpu.step import EMULATED, Work
from benchmarks.gpu.trial import LOG_BYTES, Entry, Step, Trial
from benchmarks.support.checks import WrongResultError
from kseg_batch.backends.gpu.backend import GpuBackend
from kseg_batch.backends.gpu.device import Variant
from kseg_batch.backends.gpu.driver import device_problem
from kseg_batch.kmeans.options import FitOptions
from tests.gpu.emulator.clock import ClockLibrary
from tests.gpu.emulator.device import EmulatedDevice
from tests.support.images import noise, photos
from tests.support.nvrtc import ARCHITECTURES, compile_source, usages, warnings_of
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable


# ---- steps that go wrong ---------------------------------------------------------------------------------


def python(name: str, code: str, seconds: float = 60, **more: Any) -> Step:
    """Return a step that runs some lines of Python, with its result file in `sys.argv[1]`."""
    return Step(name, seconds, (sys.executable, "-c", code, "{result}", "{seconds}"), **more)


def tells(content: dict[str, Any], rest: str = "") -> str:
    """Return lines of Python that write a result file."""
    return f"import sys; open(sys.argv[1], 'w').write({json.dumps(content)!r})\n{rest}"


DONE = tells({"figures": {"n": 1}, "summary": "all is well"})


@pytest.fixture
def trial(tmp_path: Path) -> Callable[..., tuple[list[Entry], dict[str, Any]]]:
    """Return a function that runs steps, and returns their entries and the content of the results file."""

    def run(*steps: Step, seconds: float = 300) -> tuple[list[Entry], dict[str, Any]]:
        out, scratch = tmp_path / "out", tmp_path / "scratch"
        out.mkdir()
        scratch.mkdir()
        entries = Trial(out, scratch, seconds, {"commit": "abc"}, ROOT).run(steps)
        return entries, json.loads((out / "trial.json").read_text())

    return run


def test_whatever_happens_to_a_step_the_others_go_on(trial: Any, tmp_path: Path) -> None:
    figures = {"figures": {"before": 7}, "summary": "half of it"}
    wrong = {
        "figures": {},
        "failure": "labels differ",
        "difference": {"stage": "labels"},
        "trace": "Trace...",
    }
    entries, content = trial(
        python("fails", tells(wrong, "sys.exit(1)")),
        python("dies", tells(figures, "import os; os.kill(os.getpid(), 11)")),
        python("hangs", tells(figures, "import time; time.sleep(1000)"), seconds=3),
        python("says nothing", ""),
        python("has nothing to do", tells({"failure": "no such tool"}, "sys.exit(3)")),
        Step("cannot be started", 60, (str(tmp_path / "nothing"),)),
        python("is done", DONE),
    )
    found = {entry.step: (entry.status, entry.summary) for entry in entries}
    assert found["fails"] == ("failed", "labels differ")
    assert found["dies"] == ("failed", "the process was killed by SIGSEGV; before: half of it")
    assert found["hangs"] == ("failed", "the process had not exited after 3 s; before: half of it")
    assert found["says nothing"] == ("done", "")
    assert found["has nothing to do"] == ("skipped", "no such tool")
    assert found["cannot be started"][0] == "failed"
    assert found["is done"] == ("done", "all is well")
    by_name = {entry["step"]: entry for entry in content["steps"]}
    assert by_name["fails"]["difference"] == {"stage": "labels"}
    assert by_name["dies"]["figures"] == by_name["hangs"]["figures"] == {"before": 7}
    assert by_name["is done"]["figures"] == {"n": 1}
    assert content["commit"] == "abc" and content["running"] is None


def test_the_results_file_is_whole_after_every_step(trial: Any, tmp_path: Path) -> None:
    """Each step reads the entries of the steps before it."""
    file = tmp_path / "out" / "trial.json"
    look = f"import json; print(json.dumps(json.load(open({str(file)!r}))))"
    trial(python("first", look), python("second", look), python("third", look))
    seen = [json.loads(line) for line in (tmp_path / "out/trial.log").read_text().splitlines() if "{" in line]
    assert [content["running"] for content in seen] == ["first", "second", "third"]
    assert [[entry["step"] for entry in content["steps"]] for content in seen] == [
        [],
        ["first"],
        ["first", "second"],
    ]


def test_a_step_takes_its_children_with_it(trial: Any, tmp_path: Path) -> None:
    """A step that hangs, and a step that exits before its children."""
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '1000']); print(p.pid, flush=True)"
    trial(python("hangs", f"{code}\np.wait()", seconds=3), python("ends", code))
    pids = [line for line in (tmp_path / "out/trial.log").read_text().splitlines() if line.isdigit()]
    assert len(pids) == 2
    wait_until(lambda: not any(alive(int(pid)) for pid in pids))


def alive(pid: int) -> bool:
    """Return True if a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[-1][0] != "Z"
    except OSError:
        return False


def test_what_no_longer_fits_is_skipped_and_said(trial: Any) -> None:
    entries, _ = trial(
        python("sleeps", "import time; time.sleep(1000)", seconds=6),
        python("is long", DONE, seconds=50),
        python("is short", DONE, seconds=0.01),
        seconds=3,
    )
    assert [entry.status for entry in entries] == ["failed", "skipped", "skipped"]
    assert entries[0].summary == "the process had not exited after 3 s"
    assert entries[1].summary == "no time was left: 0 s of the 50 s of the step"


def test_a_step_is_told_how_long_it_may_take(trial: Any, tmp_path: Path) -> None:
    trial(python("own", "import sys; print('has', sys.argv[2])", seconds=5), seconds=300)
    assert "has 5.0\n" in (tmp_path / "out/trial.log").read_text()


def test_after_a_wrong_result_nothing_is_timed_and_the_cause_is_sought_first(trial: Any) -> None:
    entries, _ = trial(
        python("self-test", tells({"failure": "wrong"}, "sys.exit(1)"), gate=True),
        python("kernels", DONE, measures=True),
        python("tests", DONE),
        python("stages", DONE, seeks=True),
    )
    assert [(entry.step, entry.status) for entry in entries] == [
        ("self-test", "failed"),
        ("stages", "done"),
        ("kernels", "skipped"),
        ("tests", "done"),
    ]
    assert entries[2].summary == "results are wrong, so that figures mean nothing"


def test_a_wrong_result_of_any_step_counts_and_its_other_failures_do_not(trial: Any) -> None:
    found = {"failure": "wrong", "difference": {"stage": "labels"}}
    entries, _ = trial(
        python("limits", tells({"failure": "not enough memory"}, "sys.exit(1)")),
        python("kernels", DONE, measures=True),
        python("end-to-end", tells(found, "sys.exit(1)"), measures=True),
        python("peers", DONE, measures=True),
    )
    assert [entry.status for entry in entries] == ["failed", "done", "failed", "skipped"]


@pytest.mark.needs("g++")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_trial_that_is_ended_takes_its_step_with_it(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_trial", "--emulated", "--only", "end-to-end"]
    with subprocess.Popen([*command, "--out", str(tmp_path)], cwd=ROOT, stdout=subprocess.DEVNULL) as trial:
        wait_until(lambda: step_of(trial.pid) is not None)
        step = step_of(trial.pid)
        trial.send_signal(number)
        assert trial.wait(60) != 0
    assert step is not None
    wait_until(lambda: not alive(step))


def step_of(parent: int) -> int | None:
    """Return the id of the process of a trial's step; None without a step."""
    for folder in Path("/proc").iterdir():
        try:
            its_parent = (folder / "stat").read_text().split(") ")[-1].split()[1]
            if its_parent == str(parent) and b"benchmarks.gpu\0" in (folder / "cmdline").read_bytes():
                return int(folder.name)
        except OSError:
            continue  # not a process, or no longer one
    return None


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds, for half a minute at most."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_with_more_time_each_step_has_more() -> None:
    planned = [python("a", "", seconds=40), python("b", "", seconds=60), python("c", "", 900, unfit="no GPU")]
    assert [step.seconds for step in gpu_trial.stretched(planned, 300)] == [120, 180, 2700]
    assert [step.seconds for step in gpu_trial.stretched(planned, 50)] == [40, 60, 900]


def test_a_step_that_prints_without_end_keeps_its_begin_and_end(trial: Any, tmp_path: Path) -> None:
    trial(python("prints", f"print('begin' + 'x' * {3 * LOG_BYTES} + 'end')"))
    log = (tmp_path / "out/trial.log").read_text()
    assert len(log) < 2 * LOG_BYTES + 500
    assert "begin" in log and log.rstrip().endswith("end") and "bytes are left out" in log


def test_there_are_few_logs_and_short_lines() -> None:
    planned = gpu_trial.steps("cupy", Path(), None)
    assert len({step.log for step in planned}) <= 6
    entries = [Entry(step.name, "failed", 123.4, "a long reason " * 30) for step in planned]
    assert all(len(line) <= 80 for line in step_table(entries))


# ---- the trial as a whole --------------------------------------------------------------------------------


def emulate(out: Path, only: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run the trial as a command, on the emulated device."""
    command = [sys.executable, "-m", "benchmarks.gpu_trial", "--emulated", "--out", str(out), "--only", only]
    command += ["--commit", "abc", "--seconds", "1500"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    return done, json.loads((out / "trial.json").read_text())


SHORTENED = ("versions", "self-test", "experiments", "end-to-end", "stages")

UNFIT = {"experiments", "nvjpeg", "peers", "profile", "memcheck"}
"""Steps that are skipped without a GPU."""


@pytest.mark.needs("g++")
def test_the_trial_on_the_emulated_device(tmp_path: Path, soak: bool) -> None:
    """Some of the steps; all of them in `make soak`."""
    expected = [step.name for step in gpu_trial.steps("emulated", Path(), None)] if soak else [*SHORTENED]
    done, content = emulate(tmp_path, "" if soak else ",".join(SHORTENED))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    statuses = {entry["step"]: entry["status"] for entry in content["steps"]}
    assert list(statuses) == expected
    assert {name for name, status in statuses.items() if status == "skipped"} == UNFIT & statuses.keys()
    assert set(statuses.values()) == {"done", "skipped"}
    figures = {entry["step"]: entry["figures"] for entry in content["steps"]}
    watched = figures["end-to-end"]["watched"]
    assert figures["end-to-end"]["images"] == watched["images"] == EMULATED.images
    assert 0 < watched["kernels_busy"] <= watched["gpu_busy"] <= watched["watched_wall"]
    assert content["emulated"] and content["commit"] == "abc"
    assert done.stdout.splitlines()[-2] == "emulated: no time in it means anything"


@pytest.mark.skipif(device_problem() is None, reason="there is a GPU on this machine")
def test_without_a_gpu_every_step_says_why(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu_trial",
        "--out",
        str(tmp_path),
        "--only",
        "self-test,kernels",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    content = json.loads((tmp_path / "trial.json").read_text())
    failed, skipped = content["steps"]
    assert failed["status"] == "failed" and "there is no NVIDIA driver" in failed["summary"]
    assert skipped["summary"] == "results are wrong, so that figures mean nothing"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--only", "self-test,nonsense"], "there is no step nonsense; there are versions, self-test"),
        (["--photos", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_a_command_line_that_is_wrong(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu_trial.parse(["--out", str(tmp_path / "out"), *arguments])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(device_problem() is None, reason="there is a GPU on this machine")
def test_make_takes_the_packages_that_are_there(tmp_path: Path) -> None:
    """In a checkout that is not installed and has no network, tests and trial begin, and find no GPU."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if not name.startswith("kernels/") and (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "kernels").symlink_to(ROOT / "kernels")  # with the compiled kernels of this environment
    command = ["make", "--keep-going", "gpu-test", "gpu-bench", f"GPU_PYTHON={sys.executable}"]
    command += [
        "GPU_TESTS=tests/gpu/test_on_device.py::test_from_several_threads",
        "GPU_TRIAL=--only versions,self-test",
    ]
    offline = dict.fromkeys(("http_proxy", "https_proxy", "PIP_INDEX_URL"), "http://127.0.0.1:9")
    environment = os.environ | offline
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 2
    assert "BackendUnavailableError: there is no NVIDIA driver" in done.stdout
    content = json.loads((tmp_path / "gpu-trial/trial.json").read_text())
    assert [entry["status"] for entry in content["steps"]] == ["done", "failed"]
    assert "there is no NVIDIA driver" in content["steps"][1]["summary"]
    assert not (tmp_path / ".venv").exists()


# ---- steps in this process -------------------------------------------------------------------------------


@pytest.fixture
def work(tmp_path: Path, cache: Path) -> Work:
    """Return a step on the emulated device, whose kernels are compiled once for all tests."""
    (tmp_path / "kernels").symlink_to(cache)
    return Work("emulated", None, tmp_path, Findings(tmp_path / "result.json", 500))


class TamperingDevice(EmulatedDevice):
    """A device that changes the first number of one argument after one kernel."""

    kernel, argument = "", 0

    def launch(self, kernel: str, variant: Variant, grid: tuple[int, int], args: Any, stream: Any) -> None:
        """Queue a kernel, then the change."""
        super().launch(kernel, variant, grid, args, stream)
        if kernel == self.kernel:
            stream.operations.append(lambda: add_one(args[self.argument]))


def add_one(array: Any) -> None:
    array[:1] += 1


@pytest.mark.parametrize(
    ("kernel", "argument", "stage", "array"),
    [
        ("drain_table", 5, "colours", "weights"),
        ("average_cubes", 3, "seeds", "coarse seed_xyz"),
        ("start_centers", 8, "costs", "costs of block 0"),
        ("improve_centers", -1, "centres", "centers"),
        ("converge_centers", 8, "centres", "clusters"),
        ("label_pixels", 4, "labels", "output"),
    ],
)
def test_the_first_stage_that_differs_is_named(
    cache: Path, kernel: str, argument: int, stage: str, array: str
) -> None:
    device = TamperingDevice(cache, memory=4 << 30)
    device.kernel, device.argument = kernel, argument
    image, options = photos()["coffee"][::9, ::9], FitOptions(k=3, attempts=2)
    with pytest.raises(DifferenceError) as caught:
        stages.compare_stages(device, [image, noise(9, 8)], [options, options])
    difference = caught.value.difference
    assert (difference["stage"], difference["kernel"], difference["array"]) == (stage, kernel, array)
    assert difference["found"] == difference["expected"] + 1
    assert (difference["image"], difference["index"], difference["different"]) == (0, 0, 1)


def test_a_kernel_that_fails_is_a_difference(cache: Path) -> None:
    from tests.gpu.emulator.device import FailingDevice

    device = FailingDevice(cache, memory=4 << 30)
    device.launches = 4
    with pytest.raises(DifferenceError, match="number_cubes fails: the GPU failed"):
        stages.compare_stages(device, [noise(9, 8)], [FitOptions(k=3, attempts=2)])


def test_kernels_are_timed(work: Work) -> None:
    from benchmarks.gpu.kernels import kernels

    kernels(work)
    figures = work.findings.figures
    assert [(entry["k"], entry["batch"]) for entry in figures["configurations"]] == [(3, 6), (3, 1)]
    assert all(figures["bandwidth"][copy] > 0 for copy in ("device", "upload", "download"))
    for entry in figures["configurations"]:
        assert entry["images_checked"] == entry["batch"] and entry["parts"] == 1
        assert list(entry["shares"]) == ["histogram", "points", "seeding", "converging", "labels"]
        assert sum(entry["shares"].values()) == pytest.approx(1)
        for spread in (*entry["batch_ms"].values(), *entry["kernels"].values()):
            assert 0 < spread["least"] <= spread["q1"] <= spread["median"] <= spread["q3"]


def test_every_way_is_compared_and_timed(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "REPEATS", 1)
    monkeypatch.setattr(experiments, "KS", (3,))
    alternatives = [alternative for alternative in experiments.ALTERNATIVES if alternative.threads is None][
        ::3
    ]
    first_k = experiments.time_batches(work, alternatives)
    assert [entry["alternative"] for entry in first_k] == [alternative.name for alternative in alternatives]
    photos_only = experiments.time_counting(work)
    assert {entry["alternative"] for entry in photos_only} == {
        "as it is",
        "marks in global memory",
        "marks in shared memory",
    }
    entries = work.findings.figures["counting"] + work.findings.figures["batches"]
    assert all(entry["us_per_image"] > 0 for entry in entries)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ways_of_counting_compile_for_every_gpu(architecture: int) -> None:
    source = experiments.COUNT_VARIANTS.read_text(encoding="utf-8")
    compiled = compile_source("count_variants.cu", source, Variant(), architecture)
    assert compiled.status == 0, compiled.log
    assert warnings_of(compiled.log) == []
    assert all((usage.stack, usage.spills) == (0, 0) for usage in usages(compiled.log).values())


class LyingDevice(EmulatedDevice):
    """A device that changes a bit of each byte of downloaded labels."""

    def download(self, source: Any, host: Any, stream: Any) -> None:
        """Queue a copy, then its change."""
        super().download(source, host, stream)
        if host.dtype.itemsize == 1:
            stream.operations.append(lambda: host.__ixor__(1))


def test_wrong_labels_fail_the_self_test_and_are_not_timed(
    work: Work, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.gpu.kernels import kernels
    from benchmarks.gpu.recording_device import Opened

    opened = Opened("cupy", LyingDevice(cache, memory=4 << 30), ClockLibrary())
    monkeypatch.setattr(Work, "open", lambda _: opened)
    with pytest.raises(WrongResultError, match="other labels than the reference's"):
        correctness.self_test(work)
    with pytest.raises(WrongResultError, match="the GPU's labels differ"):
        kernels(work)
    assert "configurations" not in work.findings.figures


def test_more_memory_than_was_given_is_found(
    work: Work, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend that takes twice the memory fails the step; no rounding is allowed here."""

    class GreedyBackend(GpuBackend):
        def __init__(self, name: str, device: Any, memory: int) -> None:
            super().__init__(name, device, memory)
            self.hoard = device.empty(memory, np.uint8)

    monkeypatch.setattr(limits, "ROUNDING", 0)
    device = EmulatedDevice(cache, memory=8 << 30)
    found = limits.check_memory(work, "cupy", device)
    assert EMULATED.memory // 2 < found["taken_bytes"] <= EMULATED.memory
    monkeypatch.setattr(limits, "GpuBackend", GreedyBackend)
    with pytest.raises(StepError, match=f"--gpu-memory allows {EMULATED.memory} bytes"):
        limits.check_memory(work, "cupy", device)


def test_without_nvidias_tools_the_steps_say_so(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "TOOLS", os.devnull)
    for step, tool in ((profile.profile, "Nsight Compute"), (profile.memcheck, "compute-sanitizer")):
        with pytest.raises(SkippedError, match=tool):
            step(work)


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is installed")
def test_without_pytorch_there_are_no_peers(work: Work) -> None:
    with pytest.raises(SkippedError, match="PyTorch is not installed"):
        peer_comparison.peers(work)


NCU = """==PROF== Connected to process 1
"ID","Process ID","Kernel Name","Grid Size","Metric Name","Metric Unit","Metric Value"
"0","1","count_pixels","(128, 8, 1)","gpu__time_duration.sum","us","31.2"
"0","1","count_pixels","(128, 8, 1)","launch__registers_per_thread","register/thread","30"
"1","1","label_pixels","(128, 8, 1)","gpu__time_duration.sum","us","9.5"
==PROF== Disconnected
"""


def test_the_profilers_table_is_read() -> None:
    first, second = profile._rows(NCU)
    assert first == {
        "kernel": "count_pixels",
        "grid": "(128, 8, 1)",
        "time": "31.2 us",
        "registers": "30 register/thread",
    }
    assert second["time"] == "9.5 us"
    assert profile._rows("==ERROR== no counters") == []
