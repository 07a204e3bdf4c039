"""The operating system, one facility per module."""
