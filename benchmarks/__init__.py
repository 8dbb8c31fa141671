"""Measurements of speed, quality, start-up time and memory, to be run from a checkout."""
