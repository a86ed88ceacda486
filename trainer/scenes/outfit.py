"""What a person wears, and their body: a random but plausible specification."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import NUM_BETAS
from kinestream.kernels.raster.mesh import CHECKS, DOTS, PLAIN, STRIPES_U, STRIPES_V
from kinestream.trainer.scenes.library import CharacterLibrary, Item

Rgb = tuple[int, int, int]

HAIR_COLOURS: Final[tuple[Rgb, ...]] = (
    (28, 24, 22), (44, 33, 26), (70, 48, 34), (98, 68, 44), (140, 104, 66),
    (186, 150, 100), (120, 60, 34), (112, 108, 104), (190, 186, 180),
)  # fmt: skip
_DARK, _UNGREYED = 3, 7  # how many of the hair colours are dark, and how many are not grey

FABRIC_COLOURS: Final[tuple[Rgb, ...]] = (
    (235, 235, 232), (34, 34, 38), (92, 94, 98), (150, 150, 150), (190, 30, 40), (28, 54, 120),
    (60, 110, 180), (30, 100, 60), (110, 130, 60), (226, 190, 60), (220, 110, 40), (120, 40, 90),
    (200, 130, 160), (120, 84, 56), (196, 170, 130), (60, 150, 150),
)  # fmt: skip

_AGES: Final = ("young", "middleage", "old")
_AGE_BOUNDS: Final = (35, 56)
_ANCESTRIES: Final = ("african", "asian", "caucasian")
_PATTERNS: Final = (STRIPES_U, STRIPES_V, CHECKS, DOTS)
_NO_HAT: Final = ("hair_afro01", "hair_ponytail01")
_DYED: Final = ("top", "bottom", "outfit", "socks")


@dataclass(frozen=True)
class Worn:
    """One item that is worn: its texture, and the colour (sRGB) and pattern that replace the texture's."""

    item: str
    texture: str
    colour: Rgb | None = None
    pattern: int = PLAIN
    pattern_colour: Rgb = (0, 0, 0)
    pattern_count: float = 1.0
    pattern_width: float = 0.5


@dataclass(frozen=True)
class Outfit:
    """A person before posing: shape, skin and everything worn."""

    betas: npt.NDArray[np.float32]  # (10,)
    skin: str
    skin_tint: tuple[float, float, float]
    worn: tuple[Worn, ...]


def random_outfit(
    library: CharacterLibrary, rng: np.random.Generator, *, betas: npt.NDArray[np.float32] | None = None
) -> Outfit:
    """A random person of the library's adults; `betas` (10,) overrides the shape."""
    adults = library.adults
    row = int(rng.choice(adults["varied"])) if rng.random() < 0.5 else int(rng.integers(len(adults["age"])))
    if betas is None:
        jitter = rng.normal(0, 0.25, NUM_BETAS)
        betas = np.clip(adults["betas"][row] + jitter, -3, 3).astype(np.float32)
    gender = "f" if adults["gender"][row] > 0.5 else "m"
    age = _AGES[int(np.searchsorted(_AGE_BOUNDS, adults["age"][row]))]
    ancestry = _ANCESTRIES[int(adults["ancestry"][row].argmax())]
    bodysuit = rng.random() < 0.03 and any(s.bodysuit and s.gender == gender for s in library.skins)
    skins = [s for s in library.skins if s.gender == gender and s.bodysuit == bodysuit]
    close = [s for s in skins if (s.age, s.ancestry) == (age, ancestry)] or skins or library.skins
    cut = gender if rng.random() > 0.15 else "mf".replace(gender, "")
    hair_colours = HAIR_COLOURS if age != "young" else HAIR_COLOURS[:_UNGREYED]
    if ancestry != "caucasian" and age != "old":
        hair_colours = HAIR_COLOURS[:_DARK]
    hair_colour = hair_colours[int(rng.integers(len(hair_colours)))]
    brow_colour = (int(0.7 * hair_colour[0]), int(0.7 * hair_colour[1]), int(0.7 * hair_colour[2]))

    worn = [_pick(library, rng, "eyes"), _pick(library, rng, "brows", colour=brow_colour)]
    if not bodysuit:
        if rng.random() < 0.12:
            worn.append(_pick(library, rng, "outfit"))
        else:
            worn += [_pick(library, rng, "bottom", cut), _pick(library, rng, "top", cut)]
    if rng.random() < 0.93:
        worn.append(_pick(library, rng, "shoes"))
        if rng.random() < 0.5:
            worn.append(_pick(library, rng, "socks"))
    if rng.random() < (0.97 if gender == "f" else 0.88):
        worn.append(_pick(library, rng, "hair", gender, colour=hair_colour))
    if rng.random() < 0.07 and not any(w is not None and w.item in _NO_HAT for w in worn):
        worn.append(_pick(library, rng, "hat"))
    tint = rng.uniform(0.85, 1.1) * rng.uniform(0.97, 1.03, 3)
    return Outfit(
        betas=betas,
        skin=close[int(rng.integers(len(close)))].texture,
        skin_tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        worn=tuple(w for w in worn if w is not None),
    )


def _pick(
    library: CharacterLibrary,
    rng: np.random.Generator,
    kind: str,
    cut: str | None = None,
    *,
    colour: Rgb | None = None,
) -> Worn | None:
    """A random item of a kind in a random texture; None where the library has none."""
    choices: list[Item] = library.named(kind, cut) or library.named(kind)
    if not choices:
        return None
    item = choices[int(rng.integers(len(choices)))]
    texture = item.textures[int(rng.integers(len(item.textures)))]
    if kind not in _DYED or rng.random() >= 0.65:
        return Worn(item.name, texture, colour)
    dye = _fabric(rng)
    if kind != "top" or rng.random() >= 0.25:
        return Worn(item.name, texture, dye)
    return Worn(
        item.name,
        texture,
        dye,
        pattern=int(rng.choice(_PATTERNS)),
        pattern_colour=_fabric(rng),
        pattern_count=float(rng.integers(8, 40)),
        pattern_width=float(rng.uniform(0.2, 0.6)),
    )


def _fabric(rng: np.random.Generator) -> Rgb:
    """One of the common colours of clothes, a little off."""
    base = FABRIC_COLOURS[int(rng.integers(len(FABRIC_COLOURS)))]
    shifted = np.clip(np.array(base) + rng.normal(0, 12, 3), 8, 245).astype(int)
    return int(shifted[0]), int(shifted[1]), int(shifted[2])
