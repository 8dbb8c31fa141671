"""The executors of a run, and the work on a single image."""
