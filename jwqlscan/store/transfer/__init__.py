"""Rows between stores: copy, import, prune."""
