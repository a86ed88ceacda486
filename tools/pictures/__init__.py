"""The embedded clip, and the README's picture."""
