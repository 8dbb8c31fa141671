"""Time and memory: the figures of the README."""
