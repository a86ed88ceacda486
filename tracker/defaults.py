"""What is taken where nothing is said. Imports nothing heavy, so that a help text can say it at once."""

from pathlib import Path
from typing import Final

ASSETS: Final = Path(__file__).resolve().parent / "assets"
"""Folder of everything that ships: body, weights, the embedded clip and its truth."""

DEFAULT_ENDPOINT: Final = "tcp://127.0.0.1:5556"
"""Where a tracker publishes and a listener connects."""
DEFAULT_WEBSOCKET: Final = "127.0.0.1:5558"
"""Where it serves browsers, when asked to."""
DEFAULT_PAGE: Final = "127.0.0.1:8080"
"""Where it shows itself in a browser, when asked to."""
DEFAULT_FILTER: Final = "learned"
"""The one with least jitter and lag behind the shipped regressor (docs/decisions.md)."""
DEFAULT_ENGINE: Final = "auto"
DEFAULT_MODEL: Final = "medium"
"""The regressor; ``large`` is more accurate and takes four times as long."""
DEFAULT_FOV_DEG: Final = 65.0
"""Diagonal field of view assumed for an unknown camera, between webcams (55-78) and phones (65-80)."""
DEFAULT_MAX_PEOPLE: Final = 8
DEFAULT_RECONNECT_S: Final = 120.0
"""How long a lost camera is looked for; one that starts anew needs a minute or more."""
