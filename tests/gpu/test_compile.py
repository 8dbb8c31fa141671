"""The GPU kernels, without a GPU: they compile for every architecture, and their Numba twins agree."""

from __future__ import annotations

import ast
import inspect
import multiprocessing
import re
import types
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from kseg_batch.backends import cupy, numba_cuda
from kseg_batch.backends.gpu import launches, layout
from kseg_batch.backends.gpu.device import Variant
from kseg_batch.kernels import numba_cuda as kernels
from kseg_batch.kmeans import fixed_point, histogram, reference
from tests.support.nvrtc import (
    ARCHITECTURES,
    Compiled,
    compile_file,
    compile_source,
    supported_architectures,
    usages,
    warnings_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

STATIC_SHARED_MEMORY = 48 << 10
"""Bytes of static shared memory that a block may have on every GPU."""

FEW_ARCHITECTURES = (ARCHITECTURES[0], 90, ARCHITECTURES[-1])
"""The architectures of a short run: the oldest, that of the H100 and H200, and the newest."""

FIT = [Variant(most, wide) for most in (launches.NARROW_CLUSTERS, layout.ROW) for wide in (False, True)]
VARIANTS = {"histogram.cu": [Variant()], "labels.cu": [Variant()], "seeding.cu": FIT, "lloyd.cu": FIT}
"""The variants that `kseg_batch.backends.gpu` launches, by file."""


# ---- NVRTC -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def binaries(soak: bool) -> Iterator[dict[tuple[str, Variant, int], Future[Compiled]]]:
    """All kernels, compiled by a process per core: in a process, NVRTC compiles one program at a time."""
    jobs = [
        (file, variant, architecture)
        for architecture in (ARCHITECTURES if soak else FEW_ARCHITECTURES)
        if architecture in supported_architectures()
        for file, variants in VARIANTS.items()
        for variant in variants
    ]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        yield {job: pool.submit(compile_file, *job) for job in jobs}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("file", VARIANTS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_without_warnings_and_spills(
    binaries: dict[tuple[str, Variant, int], Future[Compiled]], file: str, architecture: int, soak: bool
) -> None:
    if not (soak or architecture in FEW_ARCHITECTURES):
        pytest.skip("one of the architectures between; compiled by --soak")
    if architecture not in supported_architectures():
        pytest.skip(f"this NVRTC has no sm_{architecture}")
    for variant in VARIANTS[file]:
        compiled = binaries[file, variant, architecture].result()
        assert compiled.status == 0, compiled.log
        assert compiled.binary.startswith(b"\x7fELF")
        assert warnings_of(compiled.log) == []
        found = usages(compiled.log)
        assert sorted(found) == sorted(kernel for kernel, place in cupy.FILES.items() if place == file)
        for kernel, usage in found.items():
            where = f"{kernel} for {variant} on sm_{architecture}"
            assert (usage.stack, usage.spills) == (0, 0), where
            assert 0 < usage.registers <= (1 << 16) // cupy.THREADS, where
            assert usage.shared <= STATIC_SHARED_MEMORY, where


def test_warnings_and_spills_would_be_found() -> None:
    unused = compile_source("a.cu", 'extern "C" __global__ void a() { int unused; }', Variant(), 80)
    assert unused.status == 0
    assert any("never referenced" in line for line in warnings_of(unused.log))
    starved = usages(compile_file("labels.cu", Variant(), 80, "--maxrregcount=24").log)["label_pixels"]
    assert min(starved.stack, starved.spills, starved.shared) > 0
    assert starved.registers <= 24
    assert compile_source("a.cu", "int a = ;", Variant(), 80).status != 0


# ---- the .cu files as text -------------------------------------------------------------------------------


@cache
def sources() -> dict[str, str]:
    """The text of each file of CUDA C."""
    files = (file for file in cupy.kernel_folder().iterdir() if file.suffix in (".cu", ".cuh"))
    return {file.name: file.read_text(encoding="utf-8") for file in files}


@cache
def parameters() -> dict[str, dict[str, list[str]]]:
    """By file and kernel, the types of the parameters, such as `u64*`."""
    kernel = re.compile(r'extern "C" __global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(([^)]*)\)')
    found: dict[str, dict[str, list[str]]] = {}
    for file, text in sources().items():
        for name, listed in kernel.findall(text):
            types_ = [" ".join(one.split()[:-1]).removeprefix("const ") for one in listed.split(",")]
            found.setdefault(file, {})[name] = types_
    return found


def defines(file: str) -> dict[str, int]:
    """The whole numbers among the macros of a file."""
    return {
        name: ast.literal_eval(value)
        for name, value in re.findall(r"^#define (\w+) +(\d+)\b", sources()[file], re.MULTILINE)
    }


def members(struct: str) -> tuple[str, ...]:
    """The names of the members of a struct of batch.cuh, all of which are i64."""
    body = re.search(
        rf"struct {struct} {{[^\n]*\n(.*?)^}};", sources()["batch.cuh"], re.DOTALL | re.MULTILINE
    )
    assert body
    lines = [line.split("//")[0].strip() for line in body[1].splitlines()]
    assert all(re.fullmatch(r"i64 (\w+, )*\w+;", line) for line in lines)
    return tuple(name for line in lines for name in line[4:-1].split(", "))


def kernels_of_numba() -> dict[str, Any]:
    return {
        name: function
        for name, function in vars(kernels).items()
        if hasattr(function, "targetoptions") and not function.targetoptions.get("device")
    }


def test_every_kernel_is_listed_in_its_file() -> None:
    assert {kernel: file for file, kernels in parameters().items() for kernel in kernels} == cupy.FILES
    assert {file for file in sources() if file.endswith(".cu")} == set(VARIANTS)
    assert sum(text.count("__global__") for text in sources().values()) == len(cupy.FILES)


def test_numba_has_a_twin_of_every_kernel() -> None:
    numba = {name: len(inspect.signature(k.py_func).parameters) for name, k in kernels_of_numba().items()}
    assert numba.pop("clear") == 1  # instead of the memset that CuPy has
    assert numba == {
        name: len(types_) for kernels in parameters().values() for name, types_ in kernels.items()
    }


# ---- Numba to PTX ----------------------------------------------------------------------------------------


def signature(types_: list[str], *, wide: bool) -> tuple[Any, ...]:
    """The types of Numba for types of CUDA C: see the head of kernels/numba_cuda.py."""
    from numba import int32, int64, uint8, uint32
    from numba import types as numba_types

    items = {"Image": int64, "State": int64, "u64": int64, "int4": int32, "int": int32, "u32": uint32}
    items |= {"u8": uint8, "weight_t": int64 if wide else uint32}
    scalars = {"i64": int64, "u64": int64}
    return tuple(
        numba_types.Array(items[one[:-1]], 1, "C") if one.endswith("*") else scalars[one] for one in types_
    )


def ptx_kernels() -> list[tuple[str, bool]]:
    kernels = [(name, types_) for file in parameters().values() for name, types_ in file.items()]
    narrow = [("clear", False), *((name, False) for name, _ in kernels)]
    return narrow + [(name, True) for name, types_ in kernels if "weight_t*" in types_]


@pytest.mark.parametrize(("kernel", "wide"), ptx_kernels())
def test_numba_kernels_compile_to_integer_instructions(
    kernel: str, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from numba import cuda
    from numba.cuda import dispatcher

    # a device function is compiled for the device at hand, even where the caller is compiled for a given one
    device = types.SimpleNamespace(compute_capability=(7, 5))
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: device)
    types_ = {name: listed for file in parameters().values() for name, listed in file.items()}
    of_arguments = signature(types_.get(kernel, ["u32*"]), wide=wide)
    compiler: Any = cuda
    ptx, _ = compiler.compile_ptx(getattr(kernels, kernel).py_func, of_arguments, cc=(7, 5))
    assert ".visible .entry" in ptx
    assert re.findall(r"^.*\.(?:b?f16|f32|f64)\b.*$", ptx, re.MULTILINE) == []


# ---- constants -------------------------------------------------------------------------------------------


def test_images_and_states_have_the_same_columns_everywhere() -> None:
    assert members("Image") == layout.IMAGE
    assert members("State") == layout.STATE
    columns = vars(kernels)
    renamed = {"colors": "FIRST_COLOR"}
    image = [columns[renamed.get(name, name.upper())] for name in layout.IMAGE]
    assert image == list(range(columns["IMAGE_COLUMNS"]))
    renamed = {name: f"N_{name.upper()}" for name in ("colors", "clusters", "coarse", "fine")}
    state = [columns[renamed.get(name, name.upper())] for name in layout.STATE]
    assert state == list(range(columns["STATE_COLUMNS"]))


def test_constants_of_the_kernels_agree() -> None:
    numba, seen = vars(kernels), set()
    for file in sources():
        for name, value in defines(file).items():
            if name in numba:
                assert numba[name] == value, f"{name} of {file}"
                seen.add(name)
    assert seen == {
        "BY_FIRST",
        "BY_LUMA",
        "CELLS",
        "GIVEN",
        "MAX_CLUSTERS",
        "MAX_COARSE",
        "MAX_DISTANCE",
        "MAX_FINE",
        "MAX_LEVEL",
        "MAX_REPLICAS",
        "MAX_THREADS",
        "ROW",
        "RUN",
        "SLOTS",
    }
    assert numba["CODES"] == layout.N_CODES == 1 << 24
    assert numba["CELL_SIZE"] == histogram.CELL_SIZE == 1 << defines("histogram.cu")["CELL_SHIFT"]
    assert numba["SEEDS"] == layout.MAX_SEEDS


def test_constants_of_the_host_agree_with_the_kernels() -> None:
    arithmetic, clusters = defines("arithmetic.cuh"), defines("clusters.cuh")
    assert 1 << arithmetic["SCALE_BITS"] == fixed_point.SCALE
    assert arithmetic["MAX_LEVEL"] == reference.MAX_LEVEL
    assert arithmetic["MAX_FINE"] == reference.FINE_POINTS
    assert reference.coarse_points(256) == layout.MAX_COARSE == arithmetic["MAX_COARSE"]
    assert reference.seeding_trials(256) == arithmetic["MAX_TRIALS"]
    assert arithmetic["MAX_DISTANCE"] > 3 * (255 * fixed_point.SCALE) ** 2
    assert clusters["RUN"] == layout.RUN
    orders = defines("batch.cuh")
    assert [orders[name] for name in ("GIVEN", "BY_LUMA", "BY_FIRST")] == [0, 1, 2]
    assert (layout.GIVEN, layout.BY_LUMA, layout.BY_FIRST) == (0, 1, 2)
    assert layout.ROW == clusters["ROW"] == defines("labels.cu")["ROW"] == fixed_point.MAX_CLUSTERS
    assert clusters["SLOTS"] >= 4 * fixed_point.MAX_CLUSTERS
    assert defines("histogram.cu")["CELLS"] == layout.N_CELLS
    assert layout.N_CELLS * histogram.CELL_SIZE == layout.N_CODES
    assert defines("pixels.cuh")["GROUP"] == layout.PIXEL_ALIGNMENT
    most_threads = defines("block.cuh")["MAX_THREADS"]
    for threads in (cupy.THREADS, numba_cuda.THREADS):
        assert threads <= most_threads
        assert threads.bit_count() == 1
