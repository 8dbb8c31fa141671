"""A device that records the start and end of its operations, by the events of the library behind it."""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from benchmarks.gpu.device_wrapper import DeviceWrapper
from kseg_batch.backends.gpu.driver import read_driver
from kseg_batch.backends.registry import find
from kseg_batch.bench.environment import package_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from kseg_batch.backends.gpu.device import Array, Device, Stream, Variant
    from kseg_batch.backends.gpu.library import GpuLibrary

FIRST_KERNEL, LAST_KERNEL = "count_pixels", "label_pixels"
"""The first and the last kernel of a batch."""

PACKAGES = (
    "cupy-cuda12x",
    "cupy-cuda13x",
    "numba",
    "numba-cuda",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "scikit-image",
    "scikit-learn",
    "torch",
    "triton",
    "torchvision",
    "flash-kmeans",
    "isal",
    "pebble",
    "simplejpeg",
    "nvidia-cuda-nvrtc",
    "nvidia-cuda-nvrtc-cu12",
    "cuda-bindings",
)
"""Distributions whose versions are reported."""

Kind = Literal["upload", "download", "clear", "launch"]


class Watch(Enum):
    """The recorded operations. Events take time themselves, so that no more than necessary are recorded."""

    NOTHING = auto()
    KERNELS = auto()
    """The start of a batch's first launch and the end of its last."""
    COPIES = auto()
    """The start of a batch's first upload and the ends of its downloads."""
    EVERYTHING = auto()
    """The start and the end of each operation."""


class Library(Protocol):
    """The events of a library, and its copy from device memory to device memory."""

    def record(self, stream: Stream) -> Any:
        """Queue an event on a stream, after all operations queued so far."""

    def milliseconds(self, start: Any, end: Any) -> float:
        """Return the milliseconds between two events that have happened."""

    def copy(self, source: Array, target: Array, stream: Stream) -> None:
        """Queue a copy between arrays of the same length and dtype."""


class CupyLibrary:
    """The events of a package. The methods are those of `Library`."""

    def __init__(self) -> None:
        import cupy

        self._cuda: Any = cupy.cuda

    def record(self, stream: Stream) -> Any:
        """See `Library.record`."""
        event = self._cuda.Event()
        event.record(stream)
        return event

    def milliseconds(self, start: Any, end: Any) -> float:
        """See `Library.milliseconds`."""
        return float(self._cuda.get_elapsed_time(start, end))

    def copy(self, source: Array, target: Array, stream: Stream) -> None:
        """See `Library.copy`."""
        runtime = self._cuda.runtime
        kind = runtime.memcpyDeviceToDevice
        runtime.memcpyAsync(target.data.ptr, source.data.ptr, source.nbytes, kind, stream.ptr)


class NumbaLibrary:
    """The events of a package. The methods are those of `Library`."""

    def __init__(self) -> None:
        from numba import cuda

        self._cuda: Any = cuda

    def record(self, stream: Stream) -> Any:
        """See `Library.record`."""
        event = self._cuda.event(timing=True)
        event.record(stream)
        return event

    def milliseconds(self, start: Any, end: Any) -> float:
        """See `Library.milliseconds`."""
        return float(self._cuda.event_elapsed_time(start, end))

    def copy(self, source: Array, target: Array, stream: Stream) -> None:
        """See `Library.copy`."""
        target.copy_to_device(source, stream=stream)


@dataclass(frozen=True, slots=True)
class Operation:
    """A copy or a launch, done."""

    kind: Kind
    name: str
    """Name of the kernel; empty for a copy."""
    start: float | None
    """Start, in ms since the start of the recording; None if not recorded."""
    end: float | None
    """End, in ms since the start of the recording; None if not recorded."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A queued operation with its events."""

    kind: Kind
    name: str
    start: Any
    end: Any


class TimedDevice(DeviceWrapper):
    """A device that records the start and end of its operations.

    On an idle stream, the start event happens as soon as it is queued. If the host thread is interrupted
    before it queues the operation, the operation looks longer: times are upper bounds where threads compete.
    """

    def __init__(self, device: Device, library: Library) -> None:
        super().__init__(device)
        self.library = library
        self._stream = device.stream()
        self._watch = Watch.NOTHING
        self._marks: list[_Mark] = []
        self._base: Any = None

    def begin(self, watch: Watch) -> None:
        """Forget the recorded operations, and record from now on."""
        self._marks = []
        self._base = self.library.record(self._stream)
        self._device.wait(self._stream)
        self._watch = watch

    def take(self) -> list[Operation]:
        """Stop recording, and return the operations in the order of queuing. All must be done."""
        marks, self._marks, self._watch = self._marks, [], Watch.NOTHING
        return [Operation(m.kind, m.name, self._time(m.start), self._time(m.end)) for m in marks]

    def _time(self, event: Any) -> float | None:
        return None if event is None else self.library.milliseconds(self._base, event)

    @contextlib.contextmanager
    def _recorded(self, kind: Kind, name: str, stream: Stream) -> Iterator[None]:
        start, end = False, False
        if self._watch is Watch.KERNELS:
            start, end = name == FIRST_KERNEL, name == LAST_KERNEL
        elif self._watch is Watch.COPIES:
            uploading = bool(self._marks) and self._marks[-1].kind == "upload"
            start, end = kind == "upload" and not uploading, kind == "download"
        elif self._watch is Watch.EVERYTHING:
            start, end = True, True
        before = self.library.record(stream) if start else None
        yield
        after = self.library.record(stream) if end else None
        if self._watch is not Watch.NOTHING:
            self._marks.append(_Mark(kind, name, before, after))

    # ---- the device ------------------------------------------------------------------------------------

    def upload(self, host: NDArray[Any], target: Array, stream: Stream) -> None:
        """See `Device.upload`."""
        with self._recorded("upload", "", stream):
            super().upload(host, target, stream)

    def download(self, source: Array, host: NDArray[Any], stream: Stream) -> None:
        """See `Device.download`."""
        with self._recorded("download", "", stream):
            super().download(source, host, stream)

    def clear(self, target: Array, stream: Stream) -> None:
        """See `Device.clear`."""
        with self._recorded("clear", "", stream):
            super().clear(target, stream)

    def launch(
        self,
        kernel: str,
        variant: Variant,
        grid: tuple[int, int],
        args: Sequence[Array | int],
        stream: Stream,
    ) -> None:
        """See `Device.launch`."""
        with self._recorded("launch", kernel, stream):
            super().launch(kernel, variant, grid, args, stream)


@dataclass(frozen=True, slots=True)
class Opened:
    """A device to measure on, and its library."""

    name: str
    """Name of the backend, as on the command line."""
    device: Device
    library: Library


def open_device(name: str) -> Opened:
    """Open the first GPU with the named backend.

    Raises:
        BackendUnavailableError: The backend cannot run here.
    """
    library = cast("GpuLibrary", find(name, only="gpu").backend)
    device = library.open_device(0)
    return Opened(name, device, CupyLibrary() if name == "cupy" else NumbaLibrary())


def gpu_facts() -> dict[str, object]:
    """Return facts about the driver and the first GPU, and the versions of packages that may use them."""
    driver = read_driver()
    facts: dict[str, object] = {"driver": driver.version, "cuda": driver.cuda}
    if driver.devices:
        gpu = driver.devices[0]
        facts |= {"name": gpu.name, "compute_capability": gpu.capability, "memory_bytes": gpu.memory}
    fields = "name,driver_version,power.limit,clocks.sm,clocks.max.sm,clocks.max.memory,temperature.gpu"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["nvidia-smi", "-i", "0", f"--query-gpu={fields}", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        facts["nvidia_smi"] = dict(zip(fields.split(","), done.stdout.strip().split(", "), strict=False))
    facts["packages"] = {package: package_version(package) for package in PACKAGES}
    return facts
