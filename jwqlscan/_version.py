"""The version; a module of its own, so that whoever needs it does not import the root."""

__version__ = "0.1.0"
