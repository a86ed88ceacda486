"""Losses by what they teach: keypoints, parts, bodies, detection."""
