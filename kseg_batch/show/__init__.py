"""Figures of one photo and its clusters."""
