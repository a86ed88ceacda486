"""Data sets with human annotations in their published layouts."""
