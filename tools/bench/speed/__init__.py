"""How fast: pipeline, engines, stream."""
