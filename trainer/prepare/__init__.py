"""Preparation of training data: caches of motion, pools of crops, recordings, labels."""
