"""Readers, cleaning and batches of training data."""
