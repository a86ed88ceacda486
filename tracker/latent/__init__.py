"""The latent space of poses: kinematic flow, its uses, dynamics and filter."""
