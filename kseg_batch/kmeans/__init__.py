"""k-means on colours: the arithmetic, the options, palettes and palette files."""
