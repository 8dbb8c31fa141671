"""Batches of image files: the plan of a run, its scheduler and executors, and its journal."""
