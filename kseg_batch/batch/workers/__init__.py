"""The processes that do the work, and what they do with an image."""
