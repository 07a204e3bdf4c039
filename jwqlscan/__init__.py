"""Watch the JWST archive: one fast, exact, dated snapshot, and a report of its history."""

__version__ = "0.1.0"
