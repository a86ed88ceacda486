"""The off-line teacher: machine labels of people in photos and video, for training and for checks."""
