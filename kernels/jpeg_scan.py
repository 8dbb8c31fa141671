"""CPU kernels that follow the Huffman codes of a JPEG scan to its end. No pixel is decoded.

    data      (n + PADDING,) uint8   coded bytes of a restart interval without stuffed zeros, then zeros
    n_bits    integer                8 n
    bit       integer                the bit to begin at
    tables    (8, 65536) uint16      by the next 16 bits, 256 times the length of a code plus its symbol; 0 if
                                     there is no code. Tables 0 to 3 are for DC, tables 4 to 7 for AC
    order     (b, 2) int64           the DC and the AC table of each block of an MCU
    first     integer                the number of the first block in `seen`, or in its MCU
    n_blocks  integer                the blocks to follow
    seen      (blocks,) uint64       bit k is 1 where coefficient k of a block is known not to be zero

Each kernel returns how many blocks were followed, the bit after them, and a status: `WHOLE`; `ENDED`
where the data ended within a block; `INVALID` where there was no code, or a coefficient after the last one.

Why this way. The codes are those of ISO/IEC 10918-1, sections F.2.2 and G.2. Only files are followed that a
decoder complains of, so that one kernel for each kind of scan is fast enough.
"""

import numpy as np

from kseg_batch.kernels.jit import inlined, kernel

PADDING = 8
WHOLE, ENDED, INVALID = 0, 1, 2
LAST = 63  # the last coefficient of a block
END_OF_BANDS = 15  # runs below this one, without a value, end a block, or a run of blocks


@inlined
def next_bits(data, bit):
    """Return the next 16 bits."""
    at = bit >> 3
    bits = (np.int64(data[at]) << 16) | (np.int64(data[at + 1]) << 8) | np.int64(data[at + 2])
    return (bits >> (8 - (bit & 7))) & 0xFFFF


@kernel
def follow_sequential(data, n_bits, bit, tables, order, first, n_blocks):
    """Follow blocks of a sequential scan."""
    for block in range(n_blocks):
        start = bit
        dc_table, ac_table = order[(first + block) % len(order)]
        k = 0
        while k <= LAST:
            if bit > n_bits:
                return block, start, ENDED
            code = np.int64(tables[dc_table if k == 0 else ac_table, next_bits(data, bit)])
            if code == 0:
                return block, start, INVALID
            bit += (code >> 8) + (code & 15)
            run, size = (code >> 4) & 15, code & 15
            if k == 0:
                if run:
                    return block, start, INVALID
                k = 1
            elif size == 0 and run < END_OF_BANDS:
                break
            else:
                k += run + 1
        if k > LAST + 1:
            return block, start, INVALID
        if bit > n_bits:
            return block, start, ENDED
    return n_blocks, bit, WHOLE


@kernel
def follow_first_dc(data, n_bits, bit, tables, order, first, n_blocks):
    """Follow blocks of the first scan of DC coefficients of a progressive file."""
    for block in range(n_blocks):
        code = np.int64(tables[order[(first + block) % len(order), 0], next_bits(data, bit)])
        if code == 0 or code & 255 > 15:
            return block, bit, INVALID
        after = bit + (code >> 8) + (code & 15)
        if after > n_bits:
            return block, bit, ENDED
        bit = after
    return n_blocks, bit, WHOLE


@kernel
def follow_first_ac(data, n_bits, bit, table, first_k, last_k, first, n_blocks, seen):
    """Follow blocks of the first scan of a band of AC coefficients of a progressive file."""
    skipped = 0  # blocks without a further coefficient
    for block in range(n_blocks):
        start = bit
        if skipped:
            skipped -= 1
            continue
        k = first_k
        while k <= last_k:
            if bit > n_bits:
                return block, start, ENDED
            code = np.int64(table[next_bits(data, bit)])
            if code == 0:
                return block, start, INVALID
            bit += code >> 8
            run, size = (code >> 4) & 15, code & 15
            if size == 0 and run < END_OF_BANDS:
                skipped = (1 << run) - 1 + (next_bits(data, bit) >> (16 - run))
                bit += run
                break
            k += run
            if size:
                if k > last_k:
                    return block, start, INVALID
                seen[first + block] |= np.uint64(1) << np.uint64(k)
                bit += size
            k += 1
        if bit > n_bits:
            return block, start, ENDED
    return n_blocks, bit, WHOLE


@kernel
def follow_refined_ac(data, n_bits, bit, table, first_k, last_k, first, n_blocks, seen):
    """Follow blocks of a scan that refines a band of AC coefficients by a bit each."""
    skipped = 0
    for block in range(n_blocks):
        start = bit
        known = seen[first + block]
        k = first_k
        while skipped == 0 and k <= last_k:
            if bit > n_bits:
                return block, start, ENDED
            code = np.int64(table[next_bits(data, bit)])
            if code == 0 or code & 15 > 1:
                return block, start, INVALID
            bit += code >> 8
            run, is_new = (code >> 4) & 15, code & 15
            if not is_new and run < END_OF_BANDS:
                skipped = (1 << run) + (next_bits(data, bit) >> (16 - run))
                bit += run
                break
            bit += is_new
            while k <= last_k:
                if (known >> np.uint64(k)) & np.uint64(1):
                    bit += 1
                elif run == 0:
                    break
                else:
                    run -= 1
                k += 1
            if is_new:
                if k > last_k:
                    return block, start, INVALID
                seen[first + block] |= np.uint64(1) << np.uint64(k)
            k += 1
        if skipped:
            while k <= last_k:
                bit += np.int64((known >> np.uint64(k)) & np.uint64(1))
                k += 1
            skipped -= 1
        if bit > n_bits:
            return block, start, ENDED
    return n_blocks, bit, WHOLE
