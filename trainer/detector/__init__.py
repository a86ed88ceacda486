"""What the training of the detector is made of."""
