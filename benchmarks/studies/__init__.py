"""Comparisons that chose a constant or a method."""
