"""k-means on colours: the arithmetic, palettes and their files."""
