"""What the regressor said of people whose motion is known: truth and observations in pairs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kinestream.trainer.dynamics.clips import Floats

FORMAT = "kinestream.recorded_observations.v3"


@dataclass(frozen=True)
class RecordedObservations:
    """N clips of T frames of one person each: true states, and what was seen.

    They have one even rate, or none where `is_of_moments`.

    Keypoints lie on the plane at 1 of the camera, so that focal length and distortion are out of the way;
    `kinestream.trainer.dynamics.evidence` turns them into what the tracker's filters read.
    """

    fps: float
    z: Floats  # (N, T, D)
    root_quat_wxyz: Floats  # (N, T, 4), in the camera frame
    translation_m: Floats  # (N, T, 3)
    seen_z: Floats
    seen_root_quat_wxyz: Floats
    seen_translation_m: Floats
    std: Floats  # (N, T, D + 6) as it reports them: latent, root (radians), translation (metres)
    missing: npt.NDArray[np.bool_]  # (N, T) frames in which it saw nobody
    betas: Floats  # (N, 10), true
    seen_betas: Floats  # (N, T, 10)
    betas_std: Floats  # (N, T, 10)
    keypoints: Floats  # (N, T, 23, 3) x, y on the plane at 1, confidence
    covariance: Floats  # (N, T, 23, 3) of their heat maps there: xx, xy, yy; NaN for simulated keypoints
    half_box: Floats  # (N, T) half of the box's longer side on that plane

    @property
    def is_of_moments(self) -> bool:
        """Whether the frames of each clip are those of the temporal lifter's lags, the last one now."""
        return not np.isfinite(self.fps)

    def __len__(self) -> int:
        return len(self.z)

    @property
    def frames(self) -> int:
        """T."""
        return int(self.z.shape[1])

    @classmethod
    def joined(cls, parts: "Sequence[RecordedObservations]") -> "RecordedObservations":
        """All clips of several recordings.

        Raises ``ValueError`` where there is none, or where rates or lengths differ.
        """
        kinds = {(str(part.fps), part.frames) for part in parts}
        if len(kinds) != 1:
            raise ValueError(f"expected recordings of one rate and length, found {sorted(kinds)}")
        arrays = [entry.name for entry in fields(cls) if entry.name != "fps"]
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays}
        return cls(parts[0].fps, **joined)

    @classmethod
    def load_all(cls, paths: Sequence[Path]) -> "RecordedObservations":
        """The clips of several files; raises as `load` and `joined`."""
        return cls.joined([cls.load(path) for path in paths])

    def save(self, path: Path) -> None:
        """Write a compressed .npz file."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, format=np.array(FORMAT), **vars(self))

    @classmethod
    def load(cls, path: Path) -> "RecordedObservations":
        """Read what `save` wrote. Raises ``ValueError`` where the file is something else."""
        with np.load(path) as file:
            if "format" not in file or str(file["format"]) != FORMAT:
                found = str(file["format"]) if "format" in file else "another file"
                raise ValueError(
                    f"{path}: expected {FORMAT}, found {found}; record it (again) with "
                    "`python -m kinestream.trainer.prepare.record_observations`"
                )
            arrays = {entry.name: file[entry.name] for entry in fields(cls)}
        return cls(**arrays | {"fps": float(arrays["fps"])})
