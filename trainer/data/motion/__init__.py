"""Motion capture: readers, retargeting, cleaning and the cache."""
