"""Which GPU a thread is on while the cupy backend works, and afterwards; with a stand-in for CuPy."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

from kseg_batch.backends.cupy import CupyDevice

FREE = 5 << 30


class Runtime:
    """The current device of CUDA: one for each thread, 0 at first; setting a device opens the device."""

    def __init__(self, parties: int) -> None:
        self.opened: set[int] = set()
        self._own = threading.local()
        self._meeting = threading.Barrier(parties)

    def getDevice(self) -> int:
        return getattr(self._own, "device", 0)

    def setDevice(self, index: int) -> None:
        self.opened.add(index)
        self._own.device = index

    def memGetInfo(self) -> tuple[int, int]:
        """Wait until all threads ask, so that each thread enters the device before another leaves."""
        self._meeting.wait(10)
        return FREE, 2 * FREE


def device_on(runtime: Runtime, index: int) -> CupyDevice:
    """A device whose CuPy has a `Device` that is not thread-safe."""

    class Device:
        def __init__(self, index: int) -> None:
            self.index = index
            self.before = 0

        def __enter__(self) -> None:
            self.before = runtime.getDevice()
            runtime.setDevice(self.index)

        def __exit__(self, *_: object) -> None:
            runtime.setDevice(self.before)

    memory = SimpleNamespace(OutOfMemoryError=MemoryError)
    cuda = SimpleNamespace(runtime=runtime, Device=Device, MemoryPool=object, memory=memory)
    return CupyDevice(SimpleNamespace(cuda=cuda), index)


def test_each_thread_goes_back_to_its_device() -> None:
    runtime = Runtime(parties=2)
    device = device_on(runtime, 3)

    def look(own: int) -> tuple[int, int]:
        runtime.setDevice(own)
        return device.free_memory(), runtime.getDevice()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(look, (1, 2))) == [(FREE, 1), (FREE, 2)]


def test_the_first_gpu_is_not_opened_for_another() -> None:
    """From CUDA 12 on, setting a device makes a context on the device."""
    runtime = Runtime(parties=1)
    device = device_on(runtime, 1)
    assert [device.free_memory() for _ in range(2)] == [FREE, FREE]
    assert runtime.opened == {1}
