"""One image in memory: its clusters, their number, the choice among them, and its regions."""
