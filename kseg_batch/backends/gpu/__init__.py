"""The host program of both GPU backends: memory, copies and kernel launches."""
