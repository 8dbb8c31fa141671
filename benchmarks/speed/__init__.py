"""How fast, and with how much memory: the figures of the README."""
