"""Training crops of rendered people, and frames for the detector."""
