"""The backends that compute a segmentation, the choice among them, and the tests of each on a machine."""
