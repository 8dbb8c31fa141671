"""Segmentation of an image in memory: its clusters, the number of them, their selection, and regions."""
