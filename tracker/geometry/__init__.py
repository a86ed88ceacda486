"""Cameras, crops, boxes and rotations: one home for every formula."""
