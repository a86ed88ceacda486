"""Synthetic scenes: clothed people in real poses before real backgrounds, with exact labels.

`clips.make_clip` films one person; `kinestream.trainer.prepare.crop_pool` draws single people. Assets live
outside of the repository, see docs/training.md.
"""
