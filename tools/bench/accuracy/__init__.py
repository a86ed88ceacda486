"""How near the truth: sets of pictures, clips, priors, ablations."""
