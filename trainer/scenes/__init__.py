"""Synthetic scenes: clothed people in real poses before real backgrounds, with exact labels.

`SceneGenerator` makes pictures and clips from seeds; `shards` writes and reads them; `stream` makes them
on the fly for training. Assets live outside of the repository, see docs/training.md.
"""
