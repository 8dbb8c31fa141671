"""Fixed-point numbers in which every backend computes, so that all backends agree to the bit.

A centre is stored in Q8.6 fixed point, `round(64 * mean)`, and a pixel value `x` becomes `64 * x`. So every
squared distance is an exact integer, and every backend sees the same ties.
"""

from __future__ import annotations

SCALE = 64
"""Fixed-point units per grey level (Q8.6)."""

MAX_CLUSTERS = 256
"""Most clusters of a palette, so that a label fits one byte."""
