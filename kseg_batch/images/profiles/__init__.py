"""Colour profiles: what the numbers of an image file mean as colours, and their conversion to sRGB."""
