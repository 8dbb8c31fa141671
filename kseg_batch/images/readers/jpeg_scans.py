"""The scans of a JPEG file: where each one ends, and whether it is whole.

A decoder skips bytes that it does not understand, and warns alike of a stray byte before the tables and of
damage that shifts half of the picture. Here the Huffman codes of a scan are followed to its last block, so
that the bytes after the scan are known from the bytes of the scan (ISO/IEC 10918-1).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.errors import ImageError
from kseg_batch.optional import explain_numba

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

HUFFMAN_TABLES, RESTART_INTERVAL = 0xC4, 0xDD
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), 0xC2
"""Markers of frames with Huffman codes."""
ARITHMETIC = (0xC9, 0xCA)
"""Markers of frames with arithmetic codes, which do not tell where a scan ends."""
FRAMES = frozenset(range(0xC0, 0xD0)) - {HUFFMAN_TABLES, 0xC8, 0xCC}
"""Markers of a frame, which has the size and the components, and tells how both are coded."""
RESTART = range(0xD0, 0xD8)
ALL_COEFFICIENTS = (1 << 64) - 1
MORE_BLOCKS = 1 << 14
"""Blocks that are looked for after the last one."""
MOST_ZEROS = 4
"""Bytes that are zero, after which stray bytes are no longer told from a scan."""

TRUNCATED = "it is truncated: the JPEG's scan is not whole"
DAMAGED = "it is a damaged JPEG file: its size, tables and scans do not fit together"


@dataclass(frozen=True, slots=True)
class Component:
    """A colour channel of a frame."""

    identifier: int
    across: int
    """Blocks of an MCU from left to right: the horizontal sampling factor."""
    down: int
    """Blocks of an MCU from top to bottom: the vertical sampling factor."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame of a JPEG file."""

    marker: int
    bits: int
    height: int
    width: int
    components: dict[int, Component]

    @classmethod
    def read(cls, marker: int, content: bytes) -> Frame:
        """Read the content of a frame's segment.

        Raises:
            struct.error, IndexError: The segment is too short.
        """
        bits, height, width, n = struct.unpack_from(">BHHB", content)
        components = {}
        for i in range(n):
            identifier, sampling = content[6 + 3 * i], content[7 + 3 * i]
            components[identifier] = Component(identifier, sampling >> 4, sampling & 15)
        return cls(marker, bits, height, width, components)

    @property
    def sampling(self) -> tuple[int, int]:
        """The greatest sampling factors, across and down."""
        components = self.components.values()
        return max(c.across for c in components), max(c.down for c in components)

    def blocks(self, component: Component) -> int:
        """Return the number of blocks, each of them an MCU, in a scan of one component."""
        across, down = self.sampling
        columns, rows = -(-self.width * component.across // across), -(-self.height * component.down // down)
        return -(-columns // 8) * -(-rows // 8)

    def mcus(self) -> int:
        """Return the number of MCUs in a scan of several components."""
        across, down = self.sampling
        return -(-self.width // (8 * across)) * -(-self.height // (8 * down))


class ScanReader:
    """A reader of the segments and scans of a JPEG file, in their order."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._restart_interval = 0
        self._tables = np.zeros((8, 1 << 16), np.uint16)  # see kernels/jpeg_scan.py
        self._known: dict[int, int] = {}  # for each component, bit k is 1 where coefficient k is exact
        self._seen: dict[int, NDArray[np.uint64]] = {}  # for each component, see kernels/jpeg_scan.py

    @property
    def is_complete(self) -> bool:
        """Whether the scans so far have all bits of all coefficients."""
        return all(self._known.get(number) == ALL_COEFFICIENTS for number in self._frame.components)

    def read_segment(self, marker: int, content: bytes) -> None:
        """Read a segment before a scan, if the scan depends on it.

        Raises:
            ImageError: The segment is damaged.
            struct.error, IndexError: The segment is too short.
        """
        if marker == RESTART_INTERVAL:
            (self._restart_interval,) = struct.unpack(">H", content)
        elif marker == HUFFMAN_TABLES:
            self._read_tables(content)

    def _read_tables(self, content: bytes) -> None:
        at = 0
        while at < len(content):
            kind, number = content[at] >> 4, content[at] & 15
            counts = content[at + 1 : at + 17]
            symbols = np.frombuffer(content, np.uint8, sum(counts), at + 17)
            lengths = np.repeat(np.arange(1, 17), list(counts))
            spread = np.repeat(256 * lengths + symbols, 1 << (16 - lengths))
            if kind > 1 or number > 3 or len(spread) > 1 << 16:
                raise ImageError(DAMAGED)
            table = self._tables[4 * kind + number]
            table[: len(spread)], table[len(spread) :] = spread, 0
            at += 17 + len(symbols)

    def read_scan(self, header: bytes, coded: memoryview) -> int:
        """Follow the codes of a scan to its last block, and return the length of the scan in bytes.

        Args:
            header: The content of the segment at the start of the scan.
            coded: The bytes after this segment, to the end of the file.

        Raises:
            ImageError: The scan is truncated or damaged.
            struct.error, IndexError, KeyError: The header is damaged.
        """
        frame = self._frame
        scan = _Scan.read(header, frame)
        for component in scan.components:
            if scan.low == 0:
                band = (1 << scan.last_k + 1) - (1 << scan.first_k)
                self._known[component.identifier] = self._known.get(component.identifier, 0) | band
        intervals, end = _restart_intervals(coded)
        if frame.marker in ARITHMETIC:
            if end == len(coded):
                raise ImageError(TRUNCATED)
            return end
        n_mcus = frame.mcus() if len(scan.components) > 1 else frame.blocks(scan.components[0])
        n_blocks = n_mcus * len(scan.order)
        step = self._restart_interval * len(scan.order) or n_blocks
        firsts = range(0, n_blocks, step)
        if len(intervals) < len(firsts):
            raise ImageError(TRUNCATED if end == len(coded) else DAMAGED)
        walk = _Walk(frame, scan, self._tables, self._seen_array(scan))
        for i, first in enumerate(firsts):
            start, stop = intervals[i]
            length = walk.follow(coded[start:stop], first, min(step, n_blocks - first), stop == len(coded))
            is_last = first + step >= n_blocks
            if not is_last and (start + length < stop or coded[stop + 1] != RESTART[i % 8]):
                raise ImageError(DAMAGED)
        return start + length

    def _seen_array(self, scan: _Scan) -> NDArray[np.uint64]:
        component = scan.components[0]
        if component.identifier not in self._seen:
            n = self._frame.blocks(component) + MORE_BLOCKS if self._frame.marker == PROGRESSIVE else 0
            self._seen[component.identifier] = np.zeros(n, np.uint64)
        return self._seen[component.identifier]


@dataclass(frozen=True, slots=True)
class _Scan:
    """The header of a scan."""

    components: list[Component]
    order: NDArray[np.int64]
    """(b, 2): the DC and the AC table of each block of an MCU."""
    first_k: int
    last_k: int
    high: int
    """The lowest bit of the coefficients that was known before; 0 in their first scan."""
    low: int
    """The lowest bit of the coefficients that is known after the scan."""

    @classmethod
    def read(cls, header: bytes, frame: Frame) -> _Scan:
        n = header[0]
        components, order = [], []
        for i in range(n):
            component, tables = frame.components[header[1 + 2 * i]], header[2 + 2 * i]
            components.append(component)
            n_blocks = component.across * component.down if n > 1 else 1
            order += [(tables >> 4 & 3, 4 + (tables & 3))] * n_blocks
        first_k, last_k, bits = header[1 + 2 * n], header[2 + 2 * n], header[3 + 2 * n]
        return cls(components, np.array(order, np.int64), first_k, min(last_k, 63), bits >> 4, bits & 15)


def _restart_intervals(coded: memoryview) -> tuple[list[tuple[int, int]], int]:
    """Return the range of each restart interval, and the position of the next marker that is no restart.

    Without such a marker, the position is the end of the data.
    """
    array = np.frombuffer(coded, np.uint8)
    at = np.flatnonzero(array[:-1] == 0xFF)
    markers = array[at + 1]
    is_marker = (markers != 0) & (markers != 0xFF)
    at, markers = at[is_marker], markers[is_marker]
    others = np.flatnonzero((markers < RESTART.start) | (markers >= RESTART.stop))
    n, end = (int(others[0]), int(at[others[0]])) if len(others) else (len(at), len(coded))
    stops = [*at[:n].tolist(), end]
    return list(zip([0, *(stop + 2 for stop in stops[:-1])], stops, strict=True)), end


class _Walk:
    """The walk along the codes of a scan."""

    def __init__(
        self, frame: Frame, scan: _Scan, tables: NDArray[np.uint16], seen: NDArray[np.uint64]
    ) -> None:
        self._is_sequential = frame.marker in SEQUENTIAL
        self._scan = scan
        self._tables = tables
        self._seen = seen
        self._kernels = _import_kernels()

    def follow(self, coded: memoryview, first: int, n_blocks: int, is_end: bool) -> int:
        """Follow the blocks of a restart interval, and return their length in bytes.

        Args:
            coded: The bytes of the interval, and any stray bytes after it.
            first: The number of the first block.
            n_blocks: The number of blocks.
            is_end: Whether the file ends with the interval.

        Raises:
            ImageError: The interval is truncated or damaged.
        """
        kernels = self._kernels
        array = np.frombuffer(coded, np.uint8)
        kept = np.ones(len(array), bool)
        kept[1:] = (array[1:] != 0) | (array[:-1] != 0xFF)  # without stuffed zeros
        kept_at = np.flatnonzero(kept)
        data = np.zeros(len(kept_at) + kernels.PADDING, np.uint8)
        data[: len(kept_at)] = array[kept_at]
        _, bit, status = self._follow(data, len(kept_at), 0, first, n_blocks)
        if status != kernels.WHOLE:
            raise ImageError(TRUNCATED if status == kernels.ENDED and is_end else DAMAGED)
        n_bytes = -(-bit // 8)
        if n_bytes == len(kept_at):
            return len(array)
        if not self._ends(data, len(kept_at), bit, first + n_blocks):
            raise ImageError(DAMAGED)
        return int(kept_at[n_bytes])

    def _ends(self, data: NDArray[np.uint8], n_bytes: int, bit: int, next_block: int) -> bool:
        """Whether the scan ends at a bit, so that the bytes after it are stray ones.

        A scan is filled up to a whole byte with bits that are 1. Zeros in place of the rest of a file may be
        codes, and blocks that damage has shifted may stand where stray bytes would.
        """
        at = -(-bit // 8)
        if not _is_filled(data, bit) or not data[max(0, at - MOST_ZEROS) : at].any():
            return False
        if not data[at:].any():
            return True
        n, after, _ = self._follow(data, n_bytes, bit, next_block, MORE_BLOCKS)
        return n == 0 or -(-after // 8) < n_bytes or not _is_filled(data, after)

    def _follow(
        self, data: NDArray[np.uint8], n_bytes: int, bit: int, first: int, n_blocks: int
    ) -> tuple[int, int, int]:
        """Return the number of blocks that were followed, the bit after them, and a status of the kernels."""
        kernels, scan, n_bits = self._kernels, self._scan, 8 * n_bytes
        whole_blocks = data, n_bits, bit, self._tables, scan.order, first, n_blocks
        if self._is_sequential:
            found = kernels.follow_sequential(*whole_blocks)
        elif scan.first_k > 0:
            kernel = kernels.follow_refined_ac if scan.high else kernels.follow_first_ac
            table = self._tables[scan.order[0, 1]]
            found = kernel(data, n_bits, bit, table, scan.first_k, scan.last_k, first, n_blocks, self._seen)
        elif scan.high == 0:
            found = kernels.follow_first_dc(*whole_blocks)
        else:  # a bit for each block
            n = min(n_blocks, n_bits - bit)
            found = n, bit + n, kernels.WHOLE if n == n_blocks else kernels.ENDED
        n, after, status = found
        return int(n), int(after), int(status)


def _is_filled(data: NDArray[np.uint8], bit: int) -> bool:
    """Whether the bits from this one to the end of its byte are 1."""
    fill = (1 << -bit % 8) - 1
    return int(data[bit // 8]) & fill == fill


def _import_kernels() -> ModuleType:
    with explain_numba():
        from kseg_batch.kernels import jpeg_scan
    module: ModuleType = jpeg_scan
    return module


def warm_up() -> None:
    """Use each kernel once, so that all of them are compiled.

    Raises:
        BackendUnavailableError: Numba cannot be imported.
    """
    kernels = _import_kernels()
    data, tables = np.zeros(kernels.PADDING, np.uint8), np.zeros((8, 1 << 16), np.uint16)
    for follow in (kernels.follow_sequential, kernels.follow_first_dc):
        follow(data, 0, 0, tables, np.zeros((1, 2), np.int64), 0, 1)
    for follow in (kernels.follow_first_ac, kernels.follow_refined_ac):
        follow(data, 0, 0, tables[4], 1, 63, 0, 1, np.zeros(1, np.uint64))
