"""Extensions of file names: of the formats that are read, and of camera RAW files, which are not."""

EXTENSIONS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".jps", ".mpo"),
        *(".png", ".apng", ".gif", ".webp", ".bmp", ".dib"),
        *(".tif", ".tiff", ".btf", ".tf8"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".qoi", ".jxl"),
        *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
        *(".avif", ".avifs", ".heic", ".heics", ".heif", ".heifs", ".hif"),
    )
)
"""Extensions, in lower case, of the files that are read from a source folder."""

RAW_EXTENSIONS = frozenset(
    (
        *(".3fr", ".ari", ".arw", ".bay", ".braw", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".dng"),
        *(".drf", ".eip", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc", ".mdc", ".mef", ".mos", ".mrw"),
        *(".nef", ".nrw", ".orf", ".ori", ".pef", ".ptx", ".pxn", ".r3d", ".raf", ".raw", ".rw2", ".rwl"),
        *(".rwz", ".sr2", ".srf", ".srw", ".x3f"),
    )
)
"""Extensions, in lower case, of camera RAW files. Many of these files are TIFF by their first bytes."""
