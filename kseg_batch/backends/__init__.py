"""The backends: what computes, the choice among them, and the tests that tell whether they work."""
