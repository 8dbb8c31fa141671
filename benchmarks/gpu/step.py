"""The working environment of a step: a device, photos, sizes, and the findings."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal

from benchmarks.gpu.findings import SkippedError
from benchmarks.gpu.photos import PhotoBatches, read_photos
from benchmarks.gpu.recording_device import CupyLibrary, Opened, open_device
from benchmarks.gpu.trial import step_command
from kseg_batch.backends.cupy import FILES, THREADS, CupyDevice, kernel_folder
from kseg_batch.backends.gpu.options import GpuOptions
from kseg_batch.backends.registry import load_gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from benchmarks.gpu.findings import Findings
    from benchmarks.gpu.photos import Size
    from kseg_batch.backends.gpu.backend import GpuBackend

DeviceKind = Literal["cupy", "numba-cuda", "emulated"]
"""A GPU with one of the backends, or the cupy backend on an emulated device."""

GIB = 1 << 30

RESERVE = 3.0
"""Seconds for reporting a tool or a library that was stopped."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes and numbers of the steps."""

    size: Size = (1920, 1080)
    """Size of the photos."""
    batch: int = 64
    """Number of images of the largest batch."""
    batches: tuple[int, ...] = (64, 1, 8)
    """Numbers of images of the timed batches, the most important first."""
    ks: tuple[int, ...] = (3, 16, 64)
    """Numbers of clusters whose results are compared."""
    timed_ks: tuple[int, ...] = (3, 16, 256, 2, 5, 8, 64)
    """Numbers of clusters that are timed, the most important first."""
    other_sizes: tuple[Size, ...] = ((640, 480), (4000, 3000))
    """Sizes of further batches, as time permits."""
    noise: Size = (4096, 4096)
    """Size of the image of all colours."""
    repeats: int = 12
    """Repeats of a measurement, unless they take longer than a second."""
    images: int = 512
    """Number of JPEG files from end to end."""
    memory: int = GIB
    """Limit of GPU memory in the test of the limit, in bytes."""
    single: Size = (4000, 3000)
    """Size of an image that is done alone meanwhile, in a third of `memory`."""
    spare: int = GIB
    """Bytes of GPU memory that are left free where memory is to run out."""
    large: Size = (6000, 4000)
    """Size of four images, of which one fits into `spare` bytes."""
    copy_bytes: int = 4 * GIB
    """Bytes of the buffers for measuring the bandwidth of memory."""


EMULATED = Scale(
    size=(48, 32),
    batch=6,
    batches=(6, 1),
    ks=(3, 5, 33),
    timed_ks=(3,),
    other_sizes=(),
    noise=(150, 100),
    repeats=3,
    images=16,
    memory=405 << 20,
    single=(48, 32),
    spare=150 << 20,
    copy_bytes=1 << 20,
    large=(40, 30),
)
"""Sizes and numbers that the emulator does in seconds."""


@dataclass(frozen=True)
class Work:
    """One step, in its own process."""

    kind: DeviceKind
    folder: Path | None
    """Folder of the user's photos; None without one."""
    scratch: Path
    """A folder that all steps share, deleted at the end of the trial."""
    findings: Findings

    @property
    def emulated(self) -> bool:
        """True without a GPU."""
        return self.kind == "emulated"

    @property
    def scale(self) -> Scale:
        """Sizes and numbers of this step."""
        return EMULATED if self.emulated else Scale()

    @cached_property
    def photos(self) -> PhotoBatches:
        """Batches of the photos."""
        return PhotoBatches(read_photos(self.folder))

    def open(self) -> Opened:
        """Open the device.

        Raises:
            BackendUnavailableError: The device cannot be opened.
        """
        return self._emulated() if self.kind == "emulated" else open_device(self.kind)

    def open_variant(
        self,
        *,
        threads: int | None = None,
        defines: tuple[str, ...] = (),
        files: Mapping[str, Path] | None = None,
    ) -> Opened:
        """Open the device with other kernels.

        Args:
            threads: Threads of a block; None for those of the backend.
            defines: Options of the compiler.
            files: The file of each further kernel, by kernel. Files may include headers of the package.

        Raises:
            SkippedError: The backend has no CUDA C.
        """
        if self.kind == "numba-cuda":
            raise SkippedError("numba-cuda compiles no CUDA C, of which there are variants")
        if self.kind == "emulated":
            return self._emulated(threads or 32, defines, set((files or {}).values()))
        import cupy

        device = CupyDevice(
            cupy, 0, files={**FILES, **(files or {})}, options=defines, threads=threads or THREADS
        )
        return Opened(self.kind, device, CupyLibrary())

    def _emulated(
        self, threads: int = 32, defines: tuple[str, ...] = (), files: Collection[Path] = ()
    ) -> Opened:
        """Open the emulated device with the kernels of the package, and those of `files` as links."""
        from tests.gpu.emulator.clock import ClockLibrary
        from tests.gpu.emulator.device import EmulatedDevice

        kernels = self.scratch / "further-kernels" if files else kernel_folder()
        if not kernels.exists():
            kernels.mkdir()
            for file in (*kernel_folder().glob("*.cu*"), *files):
                (kernels / file.name).symlink_to(file)
        cache = self.scratch / "kernels"
        device = EmulatedDevice(cache, kernels=kernels, threads=threads, memory=4 * GIB, defines=defines)
        return Opened("cupy", device, ClockLibrary())

    def opener(self) -> Callable[[], GpuBackend]:
        """Return a function that opens the backend in another process, and that can be pickled."""
        if not self.emulated:
            return partial(load_gpu, self.kind, GpuOptions())
        from tests.gpu.emulator.device import emulated_gpu

        return partial(emulated_gpu, self.scratch / "kernels")

    def run_tool(self, command: Sequence[str]) -> tuple[int | None, str]:
        """Run a command within the time limit of the step, and print its output.

        Returns:
            The exit status, None at the time limit; and the output so far.
        """
        output = self.scratch / "tool.txt"
        limit = max(1.0, self.findings.left() - RESERVE)
        with output.open("w") as file:
            try:
                done = subprocess.run(
                    command, stdout=file, stderr=subprocess.STDOUT, timeout=limit, check=False
                )
                code: int | None = done.returncode
            except subprocess.TimeoutExpired:
                code = None
        text = output.read_text(encoding="utf-8", errors="replace")
        print(text, flush=True)
        return code, text

    def command_of(
        self, step: str, *, kind: str | None = None, flags: tuple[str, ...] = ()
    ) -> tuple[str, ...]:
        """Return the command of another step, for a tool that watches it, or with flags for Python."""
        return step_command(
            step,
            kind=kind or self.kind,
            scratch=self.scratch,
            photos=self.folder,
            result=str(self.scratch / f"{step}-inside.json"),
            seconds=str(self.findings.left()),
            flags=flags,
        )
