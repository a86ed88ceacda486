"""Three uses of the pose prior: score poses, complete them, fit them to 2D keypoints."""
# ruff: noqa: T201

import torch

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import FLOW_JOINT_NAMES
from kinestream.latent.flow import PoseFlow
from kinestream.latent.prior.completion import complete_pose, plausibility
from kinestream.latent.prior.fit import FitConfig, fit_keypoints

flow = PoseFlow.load()
generator = torch.Generator().manual_seed(0)

# 1. How plausible is a pose? 0.5 is ordinary; below 0.01 it is stranger than 99 of 100 real ones.
poses = flow.sample(4, temperature=0.8, generator=generator)  # (4, 21, 3, 3)
print("plausibility of samples:", plausibility(flow, poses).tolist())

# 2. What do the arms do, given the rest of the body?
arms = ("collar", "shoulder", "elbow", "wrist")
known = torch.tensor([not name.endswith(arms) for name in FLOW_JOINT_NAMES])
completed = complete_pose(flow, poses, known)
print("completed:", tuple(completed.shape))

# 3. Which body, where, explains 14 keypoints in a picture of 200 x 200 pixels?
keypoints_px = torch.tensor(
    [
        [80.0, 180.0], [85.0, 145.0], [88.0, 110.0], [112.0, 110.0], [115.0, 145.0], [120.0, 180.0],
        [62.0, 100.0], [68.0, 80.0], [82.0, 58.0], [118.0, 58.0], [132.0, 80.0], [138.0, 100.0],
        [100.0, 50.0], [100.0, 22.0],
    ]
)  # fmt: skip
fit = fit_keypoints(
    flow,
    BodyModel.load(),
    keypoints_px[None],
    torch.ones(1, 14),
    focal_px=240.0,
    center_px=torch.tensor([100.0, 100.0]),
    config=FitConfig(yaws=4, iterations=60),
)
print("pelvis in the camera frame (m):", fit.translation_m[0].tolist())
print("mean reprojection error, of the person's size:", float(fit.mean_error[0]))
