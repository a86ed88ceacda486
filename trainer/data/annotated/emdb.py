"""EMDB: outdoor video from a moving phone with SMPL poses, for evaluation.

Layout as published: ``P0/<sequence>/P0_<sequence>_data.pkl`` (decoded, not run) beside ``images/00000.jpg``.
Used entries: ``name``, ``good_frames_mask`` (T,), ``camera`` with ``intrinsics`` (3, 3) and ``extrinsics``
(T, 4, 4) world -> camera, ``smpl`` with ``poses_root`` (T, 3), ``poses_body`` (T, 69), ``trans`` (T, 3) and
``betas`` (10,). Non-commercial research only.
"""

from pathlib import Path

import numpy as np

from kinestream.body.skeleton import NUM_BETAS
from kinestream.trainer.data.annotated.annotated import AnnotationError
from kinestream.trainer.data.annotated.pickled_arrays import as_array
from kinestream.trainer.data.annotated.restricted_unpickler import PickleRefusedError, read_pickle
from kinestream.trainer.data.annotated.threedpw import PosedSequence, in_camera


def load_emdb(folder: Path) -> list[PosedSequence]:
    """All sequences below ``folder``; ``FileNotFoundError`` without any, or :class:`AnnotationError`."""
    files = sorted(Path(folder).glob("P*/*/*_data.pkl"))
    if not files:
        raise FileNotFoundError(f"no P*/*/*_data.pkl in {folder}; see docs/training.md for the layout")
    return [load_sequence(path) for path in files]


def load_sequence(path: Path) -> PosedSequence:
    """One sequence file; :class:`AnnotationError` names what is wrong with it."""
    try:
        content = read_pickle(path.read_bytes())
        smpl, camera = content["smpl"], content["camera"]
        matrix = as_array(camera["intrinsics"]).astype(np.float64)
        vectors = np.concatenate([as_array(smpl["poses_root"]), as_array(smpl["poses_body"])], 1)
        count = len(vectors)
        vectors = vectors.astype(np.float64).reshape(count, -1, 3)
        extrinsics = as_array(camera["extrinsics"]).astype(np.float64)
        valid = as_array(content["good_frames_mask"]).astype(bool)
        if extrinsics.shape != (count, 4, 4) or valid.shape != (count,):
            raise ValueError(f"{count} poses, {extrinsics.shape} cameras, {valid.shape} good frames")
        rotations, pelvis = in_camera(vectors, extrinsics, as_array(smpl["trans"]).astype(np.float64))
        return PosedSequence(
            str(content["name"]),
            tuple(path.parent / "images" / f"{frame:05d}.jpg" for frame in range(count)),
            matrix[[0, 1, 0, 1], [0, 1, 2, 2]],
            rotations,
            pelvis,
            as_array(smpl["betas"]).astype(np.float64)[:NUM_BETAS],
            valid,
        )
    except (PickleRefusedError, KeyError, IndexError, TypeError, ValueError) as error:
        raise AnnotationError(f"{path}: not an EMDB sequence ({error!r:.300})") from error
