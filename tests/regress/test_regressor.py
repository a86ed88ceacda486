"""The regressor: boxes in, observations out, in the real camera's frame and the picture's pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.body.skeleton import NUM_BETAS, NUM_KEYPOINTS
from kinestream.defaults import DEFAULT_MODEL
from kinestream.engines.torch import TorchEngine
from kinestream.geometry.camera import Camera
from kinestream.geometry.rotation import matrix_from_quat, sixd_from_matrix
from kinestream.networks.interface import BodyState, Inference, RegressorConfig
from kinestream.networks.weight_files import save_weights
from kinestream.regress.network import InferenceNetwork, RegressorNetwork
from kinestream.regress.regressor import REGRESSOR_FORMAT, Regressor
from kinestream.regress.shipped import MODELS, weights_of

CAMERA = Camera.from_fov(320, 240, fov_deg=60.0)
CONFIG = RegressorConfig(latent_size=5, backbone="tiny", crop_px=64)
IMAGE = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)


class KnownPerson(torch.nn.Module):
    """Sees at every crop's centre a pelvis 3 m away (in half extents), upright in the virtual camera."""

    def forward(self, images: torch.Tensor, to_virtual: torch.Tensor, log_extent: torch.Tensor) -> Inference:
        count = len(images)
        upright = sixd_from_matrix(torch.diag(torch.tensor([1.0, -1.0, -1.0]))).expand(count, 6)
        code = torch.zeros(count, 3)
        code[:, 2] = np.log(3.0) + log_extent
        state = BodyState(
            z=torch.zeros(count, CONFIG.latent_size),
            root_sixd=upright,
            pelvis=code,
            betas=torch.zeros(count, NUM_BETAS),
            z_log_std=torch.zeros(count, CONFIG.latent_size),
            root_log_std=torch.full((count, 1), -1.0),
            pelvis_log_std=torch.full((count, 3), np.log(0.1)),
            betas_log_std=torch.zeros(count, NUM_BETAS),
        )
        return Inference(
            points=torch.zeros(count, NUM_KEYPOINTS, 2),
            confidence_logit=torch.full((count, NUM_KEYPOINTS), 2.0),
            covariance=torch.tensor([4e-3, 1e-3, 1e-3]).expand(count, NUM_KEYPOINTS, 3),
            presence_logit=torch.full((count,), 3.0),
            state=state,
        )


@pytest.mark.parametrize("box", [(140, 60, 200, 180), (0, 10, 60, 200), (250, 100, 330, 260)])
def test_what_is_at_the_centre_of_the_crop_lies_on_the_ray_through_the_box(
    box: tuple[float, ...],
) -> None:
    seen = Regressor(TorchEngine(KnownPerson()), CONFIG)(IMAGE, [box], CAMERA)
    center = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    np.testing.assert_allclose(seen.keypoints_px[0, :, :2], np.tile(center, (NUM_KEYPOINTS, 1)), atol=1e-3)
    np.testing.assert_allclose(CAMERA.project(seen.translation_m[0]), center, atol=0.05)
    ray = CAMERA.unproject(center)
    assert np.linalg.norm(seen.translation_m[0]) == pytest.approx(3.0, rel=1e-4)
    # the virtual camera is turned towards the ray: the body's own turn follows
    root = matrix_from_quat(seen.root_quat_wxyz[0])
    np.testing.assert_allclose(-root[:, 2], ray / np.linalg.norm(ray), atol=1e-4)
    assert seen.root_std_rad[0] == pytest.approx(np.exp(-1.0))
    assert seen.presence[0] == pytest.approx(1 / (1 + np.exp(-3.0)))
    assert seen.keypoints_px[0, 0, 2] == pytest.approx(1 / (1 + np.exp(-2.0)))


@pytest.mark.parametrize(
    ("turns", "expected"), [(0, [4.0, 1.0, 1.0]), (1, [1.0, -1.0, 4.0]), (2, [4.0, 1.0, 1.0])]
)
def test_covariances_are_those_of_the_picture(turns: int, expected: list[float]) -> None:
    regressor = Regressor(TorchEngine(KnownPerson()), CONFIG)
    seen = regressor(IMAGE, [(140, 60, 200, 180)], CAMERA, [turns])
    half_px = CONFIG.crop_margin * 120 / 2
    np.testing.assert_allclose(
        seen.covariance_px2[0], np.tile(expected, (NUM_KEYPOINTS, 1)) * 1e-3 * half_px**2, rtol=1e-5
    )


def test_nobody_is_present_without_keypoints() -> None:
    class Faceless(KnownPerson):
        def forward(self, *inputs: torch.Tensor) -> Inference:
            output = super().forward(*inputs)
            return output._replace(confidence_logit=torch.full_like(output.confidence_logit, -4.0))

    box = [(140, 60, 200, 180)]
    seen = Regressor(TorchEngine(KnownPerson()), CONFIG)(IMAGE, box, CAMERA)
    unseen = Regressor(TorchEngine(Faceless()), CONFIG)(IMAGE, box, CAMERA)
    assert unseen.presence[0] < 0.1 < 0.9 < seen.presence[0]


def test_depth_is_what_is_least_certain() -> None:
    seen = Regressor(TorchEngine(KnownPerson()), CONFIG)(IMAGE, [(130, 90, 190, 150)], CAMERA)
    x, y, z = seen.translation_std_m[0]
    assert z == pytest.approx(0.3, rel=0.02)  # a tenth of three metres
    assert max(x, y) < 0.15 * z


def test_shipped_form_round_trip_and_no_boxes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = RegressorNetwork(CONFIG).eval()
    path = tmp_path / "regressor.safetensors"
    save_weights(path, network, kind=REGRESSOR_FORMAT, config=CONFIG.to_dict())
    regressor = Regressor.load(path)
    assert regressor.latent_size == CONFIG.latent_size
    assert len(regressor(IMAGE, np.zeros((0, 4)), CAMERA)) == 0
    boxes = np.array([[10, 10, 90, 200], [100, 50, 180, 230]], np.float32)
    seen = regressor(IMAGE, boxes, CAMERA)
    before = Regressor(TorchEngine(InferenceNetwork(network)), CONFIG)(
        IMAGE, boxes, CAMERA
    )  # weights are stored in half precision
    np.testing.assert_allclose(seen.keypoints_px[..., :2], before.keypoints_px[..., :2], atol=3.0)
    assert len(seen) == 2


@pytest.mark.parametrize("box", [(-500, -500, -400, -300), (50, 50, 50, 50), (90, 90, 40, 40)])
def test_strange_boxes_give_finite_numbers(box: tuple[float, ...]) -> None:
    torch.manual_seed(0)
    seen = Regressor(TorchEngine(InferenceNetwork(RegressorNetwork(CONFIG))), CONFIG)(IMAGE, [box], CAMERA)
    assert all(np.isfinite(value).all() for value in vars(seen).values())


def test_models_have_names_and_files_paths(tmp_path: Path) -> None:
    assert weights_of(None) == weights_of(DEFAULT_MODEL) == MODELS[DEFAULT_MODEL]
    assert weights_of(tmp_path / "own.safetensors") == tmp_path / "own.safetensors"
    with pytest.raises(ValueError, match="'huge': expected medium, large or a file"):
        weights_of("huge")


def test_errors_say_what_does_not_fit() -> None:
    regressor = Regressor(TorchEngine(KnownPerson()), CONFIG)
    with pytest.raises(ValueError, match="resized"):
        regressor(IMAGE[:100], [(0, 0, 10, 10)], CAMERA)
    with pytest.raises(ValueError, match="uint8"):
        regressor(IMAGE.astype(np.float32), [(0, 0, 10, 10)], CAMERA)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite"):
        regressor(IMAGE, [(0, 0, np.nan, 10)], CAMERA)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Regressor.load("nowhere.safetensors")
