"""What detector and regressor share: the backbone and weight files."""
