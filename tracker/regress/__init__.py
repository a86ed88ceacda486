"""The regressor: one look at a person crop gives keypoints, parts and the latent body state."""
