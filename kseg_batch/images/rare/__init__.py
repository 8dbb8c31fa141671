"""Formats that photos have less often: what their files say before the pixels are decoded."""
