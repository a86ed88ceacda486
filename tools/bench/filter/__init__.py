"""How the motion filters compare: error, smoothness, lag, calibration."""
