"""What a step of the trial works with: a device, photos, sizes, and a place for what it finds."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal

from benchmarks.gpu.findings import SkippedError
from benchmarks.gpu.photos import Album, read_photos
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
"""A GPU by one of the backends, or the first of them on an emulated device."""

GIB = 1 << 30

RESERVE = 3.0
"""Seconds to tell of a tool or a library that was stopped."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The sizes and numbers that the steps work with."""

    size: Size = (1920, 1080)
    """Of the photos."""
    batch: int = 64
    """Images of the largest batch."""
    batches: tuple[int, ...] = (64, 1, 8)
    """Images of the batches that are timed, the most important first."""
    ks: tuple[int, ...] = (3, 16, 64)
    """Numbers of clusters whose results are compared."""
    timed_ks: tuple[int, ...] = (3, 16, 256, 2, 5, 8, 64)
    """Numbers of clusters that are timed, the most important first."""
    other_sizes: tuple[Size, ...] = ((640, 480), (4000, 3000))
    """Of further batches, where there is time."""
    noise: Size = (4096, 4096)
    """Of the image of all colours."""
    repeats: int = 12
    """Of a measurement, unless it takes longer than a second."""
    images: int = 512
    """JPEG files from end to end."""
    memory: int = GIB
    """Bytes of GPU memory that are given where no more may be taken."""
    single: Size = (4000, 3000)
    """Of an image that is done alone meanwhile, in a third of that memory."""
    spare: int = GIB
    """Bytes of GPU memory that are left where memory is to run out."""
    large: Size = (6000, 4000)
    """Of four images, of which one fits into `spare` bytes."""
    copy_bytes: int = 4 * GIB
    """Of the buffers that the memory's bandwidth is measured with."""


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
"""Sizes and numbers that the CPU emulates in seconds."""


@dataclass(frozen=True)
class Work:
    """One step, in its own process."""

    kind: DeviceKind
    folder: Path | None
    """Of the user's photos."""
    scratch: Path
    """A folder that all steps share, deleted at the end."""
    findings: Findings

    @property
    def emulated(self) -> bool:
        """Whether there is no GPU."""
        return self.kind == "emulated"

    @property
    def scale(self) -> Scale:
        """The sizes and numbers to work with."""
        return EMULATED if self.emulated else Scale()

    @cached_property
    def album(self) -> Album:
        """The photos."""
        return Album(read_photos(self.folder))

    def open(self) -> Opened:
        """Open the device.

        Raises:
            BackendUnavailableError: It cannot be opened.
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
            threads: Of a block; those of the backend where None.
            defines: What the compiler is told.
            files: Where each further kernel stands. They include headers of the package.

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
        """The emulator takes all kernels of a folder: the package's, or one that links to `files`, too."""
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
        """A function that opens the backend in another process; it can be pickled."""
        if not self.emulated:
            return partial(load_gpu, self.kind, GpuOptions())
        from tests.gpu.emulator.device import emulated_gpu

        return partial(emulated_gpu, self.scratch / "kernels")

    def run_tool(self, command: Sequence[str]) -> tuple[int | None, str]:
        """Run a command, as long as there is time for it, and print its output.

        Returns:
            Its exit status, None where its time was up; and its output, or what there was by then.
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
        """The command of another step, for a tool to watch or for Python to be strict with."""
        return step_command(
            step,
            kind=kind or self.kind,
            scratch=self.scratch,
            photos=self.folder,
            result=str(self.scratch / f"{step}-inside.json"),
            seconds=str(self.findings.left()),
            flags=flags,
        )
