"""Figures of a photo and its clusters, drawn by matplotlib."""
