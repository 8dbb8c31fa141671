"""`kseg-batch bench`: the backends and other projects' libraries, measured on the same photos."""
