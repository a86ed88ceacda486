"""What the whole tracker estimates of recorded people, picture by picture, beside their true motion."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kinestream.body.mirror import MIRROR_POSITION, MIRROR_QUAT, mirror_rotations
from kinestream.latent.decode import FlowDecoder
from kinestream.latent.flow import PoseFlow
from kinestream.trainer.dynamics.clips import Floats, encoded

FORMAT = "kinestream.recorded_estimates.v1"


@dataclass(frozen=True)
class RecordedEstimates:
    """S sequences of at most T estimates of the people of N clips of F frames.

    Sequences differ in rate and in what was missed; those that are shorter end with frames of -1.
    """

    fps: float
    z: Floats  # (N, F, D) true states
    root_quat_wxyz: Floats  # (N, F, 4), in the camera frame
    translation_m: Floats  # (N, F, 3)
    clip: npt.NDArray[np.int64]  # (S,) whose motion
    frame: npt.NDArray[np.int64]  # (S, T) when
    estimated_z: Floats  # (S, T, D)
    estimated_root_quat_wxyz: Floats
    estimated_translation_m: Floats
    std: Floats  # (S, T, D + 6)

    def __len__(self) -> int:
        return len(self.clip)

    @classmethod
    def joined(cls, parts: "Sequence[RecordedEstimates]") -> "RecordedEstimates":
        """All sequences of several, whose rate and lengths are the same."""
        first = np.cumsum([0, *(len(part.z) for part in parts)])
        names = [entry.name for entry in fields(cls) if entry.name not in ("fps", "clip")]
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        clip = np.concatenate([part.clip + start for part, start in zip(parts, first, strict=False)])
        return cls(fps=parts[0].fps, clip=clip, **joined)

    @classmethod
    def load_all(cls, paths: Sequence[Path]) -> "RecordedEstimates":
        """The sequences of several files; raises as `load`."""
        return cls.joined([cls.load(path) for path in paths])

    def mirrored(self, flow: PoseFlow) -> "RecordedEstimates":
        """The same people before a mirrored camera, left and right exchanged; deviations of latents stay."""
        decoder = FlowDecoder(flow)

        def pose(z: Floats) -> Floats:
            rotations = decoder.decode(z.reshape(-1, z.shape[-1]))
            return encoded(flow, mirror_rotations(rotations)).reshape(z.shape)

        return replace(
            self,
            z=pose(self.z),
            root_quat_wxyz=self.root_quat_wxyz * MIRROR_QUAT,
            translation_m=self.translation_m * MIRROR_POSITION,
            estimated_z=pose(self.estimated_z),
            estimated_root_quat_wxyz=self.estimated_root_quat_wxyz * MIRROR_QUAT,
            estimated_translation_m=self.estimated_translation_m * MIRROR_POSITION,
        )

    def save(self, path: Path) -> None:
        """Write a compressed .npz file."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, format=np.array(FORMAT), **vars(self))

    @classmethod
    def load(cls, path: Path) -> "RecordedEstimates":
        """Read what `save` wrote. Raises ``ValueError`` where the file is something else."""
        with np.load(path) as file:
            if "format" not in file or str(file["format"]) != FORMAT:
                found = str(file["format"]) if "format" in file else "another file"
                raise ValueError(
                    f"{path}: expected {FORMAT}, found {found}; make it with "
                    "`python -m kinestream.trainer.prepare.estimate_observations`"
                )
            arrays = {entry.name: file[entry.name] for entry in fields(cls)}
        return cls(**arrays | {"fps": float(arrays["fps"])})
