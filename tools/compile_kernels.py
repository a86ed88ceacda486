"""Compiles the kernels of the measurement update, so that the next process finds their code.

    python -m kinestream.tools.compile_kernels

A first start runs it beside itself (`kinestream.tools.process.start_quickly`). It takes the kernels from the
last to the first that a start needs, so that the two meet: whoever comes second reads what is there.
"""

import numpy as np


def main() -> None:
    """Call each with arrays as the measurement update has them."""
    from kinestream.tools.process import load_kernels_without_scipy

    load_kernels_without_scipy()
    from kinestream.body.arrays import read_body
    from kinestream.body.skeleton import NUM_BETAS, NUM_JOINTS, NUM_KEYPOINTS
    from kinestream.filtering import keypoint_solver as solver
    from kinestream.filtering.keypoint_kinematics import KeypointKinematics
    from kinestream.filtering.keypoint_swaps import Believed, believe

    work = solver.Solver(KeypointKinematics.with_offsets(read_body(None)))
    straight = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    tangents = np.zeros((solver.LATENT, solver.LATENT + 1))
    zeros, ones = np.zeros(solver.STATE), np.ones(solver.STATE)
    prior = solver.Prior(straight, tangents, np.array([0.0, 0.0, 3.0]), np.eye(3), np.zeros(NUM_BETAS), ones)
    work.learned(prior, 1.0)
    believed = Believed.empty()
    covariance = np.tile([1.0, 0.0, 1.0], (NUM_KEYPOINTS, 1))
    believe(np.zeros((NUM_KEYPOINTS, 3)), covariance, work.predicted, 1.0, 0.1, believed)
    work.evaluate(prior, solver.Evidence(*believed, np.ones(12), 1.0), zeros)


if __name__ == "__main__":
    import gc

    gc.disable()
    main()
