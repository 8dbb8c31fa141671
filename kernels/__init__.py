"""Device and jitted code only: no files, no options, no allocation. `kseg_batch.backends` drives it."""
