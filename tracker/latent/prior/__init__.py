"""The pose flow as a prior: fits to keypoints, completion of partial poses."""
