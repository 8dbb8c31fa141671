"""The host program that both GPU backends share."""
