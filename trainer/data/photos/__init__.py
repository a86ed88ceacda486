"""Photos and frames: labels of machines and people, augmentation, unlabelled views."""
