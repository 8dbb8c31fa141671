"""Pictures and charts of the README."""
