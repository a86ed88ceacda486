"""Finding people in a frame and following who is who."""
