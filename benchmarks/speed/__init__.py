"""Time and memory: the figures of docs/speed.md."""
