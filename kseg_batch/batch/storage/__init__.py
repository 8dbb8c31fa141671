"""Local files: the scan for source images, and the output folder."""
