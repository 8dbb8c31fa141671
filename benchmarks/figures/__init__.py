"""Pictures and charts of the documentation."""
