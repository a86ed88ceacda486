"""What trainings of the regressor share."""
