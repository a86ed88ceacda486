"""The page of a running tracker, or of a recording, in a browser."""
