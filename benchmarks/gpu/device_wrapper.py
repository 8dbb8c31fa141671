"""A `Device` that passes every call to another device, as a base of devices that watch some calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike, NDArray

    from kseg_batch.backends.gpu.device import Array, Device, Stream, Variant


class DeviceWrapper:
    """A device that passes every call on, with the methods of `kseg_batch.backends.gpu.device.Device`."""

    def __init__(self, device: Device) -> None:
        self.max_blocks = device.max_blocks
        self.threads = device.threads
        self._device = device

    def activate(self) -> None:
        """Pass the call on."""
        self._device.activate()

    def free_memory(self) -> int:
        """Pass the call on."""
        return self._device.free_memory()

    def empty(self, length: int, dtype: DTypeLike) -> Array:
        """Pass the call on."""
        return self._device.empty(length, dtype)

    def release(self) -> None:
        """Pass the call on."""
        self._device.release()

    def pinned(self, n_bytes: int) -> NDArray[np.uint8]:
        """Pass the call on."""
        return self._device.pinned(n_bytes)

    def stream(self) -> Stream:
        """Pass the call on."""
        return self._device.stream()

    def upload(self, host: NDArray[Any], target: Array, stream: Stream) -> None:
        """Pass the call on."""
        self._device.upload(host, target, stream)

    def download(self, source: Array, host: NDArray[Any], stream: Stream) -> None:
        """Pass the call on."""
        self._device.download(source, host, stream)

    def clear(self, target: Array, stream: Stream) -> None:
        """Pass the call on."""
        self._device.clear(target, stream)

    def launch(
        self,
        kernel: str,
        variant: Variant,
        grid: tuple[int, int],
        args: Sequence[Array | int],
        stream: Stream,
    ) -> None:
        """Pass the call on."""
        self._device.launch(kernel, variant, grid, args, stream)

    def wait(self, stream: Stream) -> None:
        """Pass the call on."""
        self._device.wait(stream)


def fetch(device: Device, source: Array, stream: Stream) -> NDArray[Any]:
    """Wait for the stream, and return a device array on the host."""
    host = np.empty(len(source), source.dtype)
    device.download(source, host, stream)
    device.wait(stream)
    return host
