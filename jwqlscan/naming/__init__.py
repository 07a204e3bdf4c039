"""What a file name says."""
