"""File names: instrument, filetype and program."""
