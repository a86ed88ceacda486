"""How good a stream of poses is."""
