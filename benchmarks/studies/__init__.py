"""What chose a constant or a method."""
