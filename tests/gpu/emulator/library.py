"""C++ and CUDA C as shared libraries, which g++ compiles once, and the launch of their kernels."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
KERNEL = re.compile(r'extern "C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\s*\(')

COMMON_FLAGS = ("-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique", "-Wall", "-Wextra")
SANITIZED = ("-fsanitize=undefined", "-fno-sanitize=vptr")
"""Flags that let undefined behaviour call the functions in `undefined.h`."""

Order = Literal["ascending", "descending"] | int
"""In which order blocks and threads run; a positive number is the seed of a shuffle."""

_one_at_a_time = threading.Lock()  # the emulator's state, and the tables of loaded libraries, are global


@dataclass(frozen=True, slots=True)
class Source:
    """A C++ file to compile, which can include the headers in this folder."""

    name: str
    text: str
    flags: tuple[str, ...] = ()
    """Flags of the compiler. Included files are in a folder named by -I, or the system's."""


class EmulationError(AssertionError):
    """A kernel, or its caller, is wrong. Not a BackendError, which the code under test may catch."""


class _Launch(ctypes.Structure):
    """The struct Launch of cuda_emulator.cpp."""

    _fields_ = (
        ("kernel", ctypes.c_char_p),
        ("grid_x", ctypes.c_int64),
        ("grid_y", ctypes.c_int64),
        ("threads", ctypes.c_int64),
        ("order", ctypes.c_int64),
        ("n_args", ctypes.c_int64),
        ("args", ctypes.POINTER(ctypes.c_void_p)),
        ("item_sizes", ctypes.POINTER(ctypes.c_int64)),
        ("atomics", ctypes.c_int64),
        ("fault", ctypes.c_void_p),
        ("error", ctypes.c_char * 512),
    )


class KernelFault(EmulationError):
    """A kernel was ended at an operation that is undefined on a GPU."""

    def __init__(self, message: str, address: int | None) -> None:
        super().__init__(message)
        self.address = address
        """The forbidden address; None where the cause was no access."""


def compile_library(cache: Path, sources: Sequence[Source]) -> Path:
    """A shared library from C++ sources, compiled unless an earlier call has left it in the folder `cache`.

    Raises:
        EmulationError: g++ is not installed, or prints an error or a warning.
    """
    folders = {
        HERE,
        *(Path(flag[2:]) for source in sources for flag in source.flags if flag.startswith("-I")),
    }
    key = hashlib.sha256(repr((COMMON_FLAGS, sources)).encode())
    for path in sorted(path for folder in folders for path in folder.glob("*")):
        if path.suffix in (".h", ".cpp", ".cu", ".cuh"):
            key.update(path.name.encode() + path.read_bytes())
    library = cache / f"{key.hexdigest()[:24]}.so"
    if not library.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _compile(Path(folder), sources).replace(
                library
            )  # atomically: other processes may compile the same library
    return library


def _compile(folder: Path, sources: Sequence[Source]) -> Path:
    if shutil.which("g++") is None:
        raise EmulationError(
            "These tests run the CUDA kernels on the CPU and need g++, which is not installed."
        )
    running = []
    for source in sources:
        path = folder / source.name
        path.write_text(source.text, encoding="utf-8")
        command = ["g++", *COMMON_FLAGS, f"-I{HERE}", *source.flags, "-c", str(path), "-o", f"{path}.o"]
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    messages = "".join([process.communicate()[1] for process in running])
    if messages:
        raise EmulationError(f"g++ does not accept the sources:\n{messages}")
    library = folder / "library.so"
    # Without -fsanitize, which would link libubsan; -z defs finds missing functions now, not by a crash.
    link = ["g++", "-shared", "-Wl,-z,defs", "-o", str(library), *(str(path) for path in folder.glob("*.o"))]
    linked = subprocess.run(link, stderr=subprocess.PIPE, text=True, check=False)
    if linked.returncode:
        raise EmulationError(f"g++ does not link the library:\n{linked.stderr}")
    return library


class KernelLibrary:
    """The kernels of all .cu files of a folder, compiled for one variant."""

    def __init__(self, cache: Path, folder: Path, defines: Sequence[str]) -> None:
        # A kernel file need not use every function of the headers; nvcc knows #pragma unroll, g++ does not.
        flags = (f"-I{folder}", *defines, *SANITIZED, "-Wno-unused-function", "-Wno-unknown-pragmas")
        sources = [Source("emulator.cpp", '#include "cuda_emulator.cpp"\n')]
        for path in sorted(folder.glob("*.cu")):
            kernels = KERNEL.findall(path.read_text(encoding="utf-8"))
            lines = ['#include "cuda_emulator.h"', f'#include "{path.name}"']
            lines += [f"EMULATED_KERNEL({kernel})" for kernel in kernels]
            sources.append(Source(f"{path.stem}.cpp", "\n".join(lines) + "\n", flags))
        self._library = ctypes.CDLL(os.fspath(compile_library(cache, sources)))
        self._library.emulate.restype = None
        self._library.emulate.argtypes = (ctypes.POINTER(_Launch),)

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int],
        threads: int,
        order: Order,
        args: Sequence[int],
        item_sizes: Sequence[int],
    ) -> int:
        """Run a kernel to its end.

        Args:
            kernel: Its name.
            grid: Blocks in x and y.
            threads: Threads of a block.
            order: Order in which blocks and threads run.
            args: Integers, and the addresses of arrays.
            item_sizes: Bytes of an item of each array; 0 for integers.

        Returns:
            The number of atomic operations outside of shared memory.

        Raises:
            KernelFault: The kernel does something undefined, or the arguments do not fit its parameters.
        """
        values = (ctypes.c_int64 * len(args))(*args)
        at = ctypes.addressof(values)
        launch = _Launch(
            kernel=kernel.encode(),
            grid_x=grid[0],
            grid_y=grid[1],
            threads=threads,
            order={"ascending": 0, "descending": -1}[order] if isinstance(order, str) else order,
            n_args=len(args),
            args=(ctypes.c_void_p * len(args))(*(at + 8 * i for i in range(len(args)))),
            item_sizes=(ctypes.c_int64 * len(args))(*item_sizes),
        )
        with _one_at_a_time:
            self._library.emulate(ctypes.byref(launch))
        if launch.error:
            raise KernelFault(launch.error.decode(), launch.fault)
        return int(launch.atomics)


@functools.cache
def kernel_library(cache: Path, folder: Path, defines: tuple[str, ...]) -> KernelLibrary:
    """The library of a folder of .cu files, loaded once; the files are read at the first call alone."""
    return KernelLibrary(cache, folder, defines)
