"""The pictures and charts of the README."""
