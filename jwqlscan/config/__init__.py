"""The configuration: the file, its sections, its template."""
