"""What is stored, read back."""
