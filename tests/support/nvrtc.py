"""NVRTC: CUDA C compiled for any GPU, without a GPU, and the resources of each kernel by ptxas."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

from kseg_batch.backends import cupy

if TYPE_CHECKING:
    from kseg_batch.backends.gpu.device import Variant

ARCHITECTURES = (75, 80, 89, 90, 100)


@cache
def nvrtc() -> ctypes.CDLL:
    """The compiler of the installed wheel, for CUDA 12 or 13, whose folders differ."""
    for package in ("nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvrtc"):
        try:
            files = metadata.files(package)
        except metadata.PackageNotFoundError:
            continue
        for file in files or ():
            if re.fullmatch(r"libnvrtc\.so\.\d+|nvrtc64_\d+_0\.dll", file.name):
                return ctypes.CDLL(str(file.locate()))
    raise AssertionError("no NVRTC: pip install nvidia-cuda-nvrtc-cu12")


def supported_architectures() -> list[int]:
    number = ctypes.c_int()
    assert nvrtc().nvrtcGetNumSupportedArchs(ctypes.byref(number)) == 0
    architectures = (ctypes.c_int * number.value)()
    assert nvrtc().nvrtcGetSupportedArchs(architectures) == 0
    return list(architectures)


@dataclass(frozen=True)
class Compiled:
    """The result of a compilation."""

    status: int
    """0 if it succeeded."""
    log: str
    """The messages of NVRTC and ptxas."""
    binary: bytes
    """The CUBIN."""


def compile_source(name: str, source: str, variant: Variant, architecture: int, *options: str) -> Compiled:
    lib, program, size = nvrtc(), ctypes.c_void_p(), ctypes.c_size_t()
    assert lib.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None, None) == 0
    try:
        told = [*cupy.compile_options(variant), f"-arch=sm_{architecture}", "--ptxas-options=-v", *options]
        array = (ctypes.c_char_p * len(told))(*[option.encode() for option in told])
        status = lib.nvrtcCompileProgram(program, len(told), array)
        assert lib.nvrtcGetProgramLogSize(program, ctypes.byref(size)) == 0
        log = ctypes.create_string_buffer(size.value)
        assert lib.nvrtcGetProgramLog(program, log) == 0
        binary = b""
        if status == 0:
            assert lib.nvrtcGetCUBINSize(program, ctypes.byref(size)) == 0
            buffer = ctypes.create_string_buffer(size.value)
            assert lib.nvrtcGetCUBIN(program, buffer) == 0
            binary = buffer.raw
        return Compiled(status, log.value.decode(), binary)
    finally:
        lib.nvrtcDestroyProgram(ctypes.byref(program))


def compile_file(file: str, variant: Variant, architecture: int, *options: str) -> Compiled:
    source = (cupy.kernel_folder() / file).read_text(encoding="utf-8")
    return compile_source(file, source, variant, architecture, *options)


@dataclass(frozen=True)
class Usage:
    """The resources of a kernel, as ptxas reports."""

    stack: int
    """Bytes of local memory of a thread."""
    spills: int
    """Bytes written to local memory, and read, for lack of registers."""
    registers: int
    """Registers of a thread."""
    shared: int
    """Bytes of shared memory of a block."""


def usages(log: str) -> dict[str, Usage]:
    """The resources of each kernel, read from the log of a compilation."""
    found = {}
    for report in log.split("Compiling entry function '")[1:]:
        numbers = {
            what: int(number)
            for number, what in re.findall(r"(\d+) (?:bytes )?(stack|spill \w+|registers|smem)\b", report)
        }
        spills = numbers["spill stores"] + numbers["spill loads"]
        kernel = report.split("'")[0]
        found[kernel] = Usage(numbers["stack"], spills, numbers["registers"], numbers.get("smem", 0))
    return found


def warnings_of(log: str) -> list[str]:
    """The lines of a log that are not resources by ptxas."""
    return [line for line in log.splitlines() if line and not re.match(r"ptxas (info  +:|  +\.  )", line)]
