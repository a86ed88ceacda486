"""A worked example of the alignment loss: bodies recovered from part maps."""
