"""What the training of the pose flow is made of."""
