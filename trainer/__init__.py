"""Training: data loaders, synthetic scenes, losses, and one train script per model."""
