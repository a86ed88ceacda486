"""The regressor: one inference on a person crop gives keypoints, parts and the latent body state."""
