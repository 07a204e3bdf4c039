"""What a scan found; no input, no output."""
