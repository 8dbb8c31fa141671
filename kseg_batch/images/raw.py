"""Camera RAW files: recognised by their content, and refused.

Their pixels need to be developed: the preview that many of them hold is not the photo.
"""

from __future__ import annotations

SIGNATURES = {
    b"IIRO": "ORF", b"IIRS": "ORF", b"MMOR": "ORF", b"IIU\0": "RW2", b"FUJIFILMCCD-RAW": "RAF",
    b"FOVb": "X3F", b"\0MRM": "MRW", b"II\x1a\0\0\0HEAPCCDR": "CRW",
}  # fmt: skip
"""First bytes of RAW files that are no TIFF files, and their usual extension."""
MAKES = {
    b"NIKON": "NEF", b"SONY": "ARW", b"PENTAX": "PEF", b"RICOH": "PEF", b"SAMSUNG": "SRW",
    b"HASSELBLAD": "3FR", b"CANON": "CR2", b"PHASE ONE": "IIQ", b"LEAF": "MOS", b"EPSON": "ERF",
    b"SEIKO EPSON": "ERF", b"MAMIYA": "MEF", b"KODAK": "DCR", b"EASTMAN KODAK": "DCR",
}  # fmt: skip
"""First words of the tag Make in RAW files that are TIFF files, and their usual extension."""


def raw_format(data: bytes) -> str | None:
    """Return the usual extension of a camera RAW file, without a dot; None for TIFF files and all others."""
    if data[4:12] == b"ftypcrx ":
        return "CR3"
    return next((name for signature, name in SIGNATURES.items() if data.startswith(signature)), None)


def raw_refusal(data: bytes, make: bytes = b"", *, is_dng: bool = False) -> str:
    """Return the sentence for a camera RAW file.

    Args:
        data: The content of the file.
        make: The maker of the camera, of a file that is a TIFF by its first bytes.
        is_dng: Whether the file is a DNG.
    """
    name = "DNG" if is_dng else raw_format(data)
    if name is None:
        name = next((name for word, name in MAKES.items() if make.upper().startswith(word)), None)
    kind = "a camera RAW file" if name is None else f"a camera RAW file ({name})"
    return f"it is {kind}, which is not read here; develop it to JPEG, PNG or TIFF first"
