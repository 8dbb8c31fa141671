"""Kinds of image files that libraries misinterpret: their one image, and the meaning of its samples."""
