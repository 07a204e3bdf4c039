"""The tabs of the report, one module each."""
