"""Where photos come from, and where outputs go."""
