"""Constants and file format that the torch and the numpy form of the latent dynamics share."""

from typing import Final

from kinestream.defaults import ASSETS

DEFAULT_WEIGHTS: Final = ASSETS / "dynamics.safetensors"
FORMAT: Final = "kinestream.latent_dynamics.v1"

MIN_STEP_S: Final = 0.008
"""Shorter steps count as this long where a correction is turned into a velocity."""
SHORTEST_SEEN_S: Final = 0.004
"""The shortest step of training; the cell is told no shorter one."""
INNOVATION_CLIP: Final = 4.0
"""Innovations are softly limited to this many standard deviations."""
VELOCITY_CLIP: Final = 6.0
"""Velocities are softly limited to this many typical speeds, latents in features to this many deviations."""
SHAPE_CLIP: Final = 1.5
"""How much of the velocity one term of the motion curve may carry on."""
LOG_CLIP: Final = 6.0
"""Limit of the learned log-factors on variances."""
