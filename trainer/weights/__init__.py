"""Tools for weight files: import, average, pack."""
