"""`kseg-batch bench`: our backends and other people's libraries on the same photos, side by side."""
