"""People over time: association of detections with tracks, their filters and their posed bodies."""
