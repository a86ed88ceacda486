"""The worked example of the alignment loss: its scenes are what they say, and a short fit comes closer."""

from __future__ import annotations

import pytest
import torch

from kinestream.body.arrays import DEFAULT_BODY_PATH, load_body_arrays
from kinestream.body.model import BodyModel
from kinestream.geometry.rotation import geodesic_distance
from kinestream.kernels.alignment import alignment_loss
from kinestream.latent.flow import LIGHT_WEIGHTS, PoseFlow
from kinestream.tools.part_fitting.fit_parts import FitOptions, fit, joint_errors_mm
from kinestream.tools.part_fitting.scenes import (
    Bodies,
    perturbed,
    place_people,
    render_parts,
    square_camera,
    thinned,
)
from kinestream.tools.part_fitting.strip import write_strip


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def people() -> Bodies:
    generator = torch.Generator().manual_seed(4)
    return place_people(
        PoseFlow.load(LIGHT_WEIGHTS).sample(2, temperature=0.7, generator=generator), generator
    )


def test_true_bodies_explain_their_maps_and_perturbed_ones_do_not(body, people):
    camera = square_camera(128)
    start = perturbed(people, torch.Generator().manual_seed(1), angle_deg=20.0, shift_m=0.1)
    with torch.no_grad():
        true, moved = people.posed(body).vertices_m, start.posed(body).vertices_m
    part_map, visible = render_parts(body, true, camera)
    assert part_map.shape == (2, 128, 128)
    assert all(len(labels.unique()) >= 13 for labels in part_map)  # background and nearly all of 15 parts
    assert ((0.2 < visible.float().mean(1)) & (visible.float().mean(1) < 0.7)).all()
    intrinsics = torch.tensor(camera.K, dtype=torch.float32)
    options = {"camera": intrinsics, "visibility": visible, "sigma_px": 4.0}
    at_truth = alignment_loss(true, body.part_labels, part_map, **options).total
    elsewhere = alignment_loss(moved, body.part_labels, part_map, **options).total
    assert (at_truth < 0.15 * elsewhere).all()


def test_perturbation_is_of_the_size_asked_for(people):
    many = people.rows(torch.zeros(400, dtype=torch.long))
    start = perturbed(many, torch.Generator().manual_seed(0), angle_deg=20.0, shift_m=0.1)
    angles = torch.rad2deg(geodesic_distance(start.rotations[:, :22], many.rotations[:, :22]))
    assert abs(float(angles.square().mean().sqrt()) - 20.0) < 0.5
    shift = (start.translation_m - many.translation_m).norm(dim=1)
    torch.testing.assert_close(shift, torch.full((400,), 0.1))
    assert (start.betas == 0).all()
    assert torch.equal(start.rotations[:, 22:], many.rotations[:, 22:])


def test_a_hidden_part_is_not_seen_though_it_is_close_to_what_hides_it(body, people):
    camera = square_camera(96)
    with torch.no_grad():
        vertices = people.posed(body).vertices_m
    part_map, seen = render_parts(body, vertices, camera)
    points = vertices @ torch.tensor(camera.K, dtype=torch.float32).T
    columns, rows = (points[..., :2] / points[..., 2:]).round().long().unbind(-1)
    for labels, visible, row, column in zip(part_map, seen, rows, columns, strict=True):
        shown = labels[row[visible], column[visible]].long()
        assert visible.sum() > 500
        assert torch.equal(shown, body.part_labels[visible] + 1)


def test_a_thinned_body_keeps_its_joints_and_its_place(body, people):
    thin, kept = thinned(load_body_arrays(DEFAULT_BODY_PATH), 3)
    assert len(kept) < 0.6 * body.num_vertices
    whole, part = people.posed(body), people.posed(thin)
    torch.testing.assert_close(part.joints_m, whole.joints_m, atol=1e-5, rtol=0)
    torch.testing.assert_close(part.vertices_m, whole.vertices_m[:, kept], atol=1e-5, rtol=0)
    assert torch.equal(thin.part_labels, body.part_labels[kept])


def test_a_short_fit_comes_closer_and_a_fit_without_the_loss_does_not(body, people, tmp_path):
    flow, camera = PoseFlow.load(LIGHT_WEIGHTS), square_camera(96)
    with torch.no_grad():
        part_map, _ = render_parts(body, people.posed(body).vertices_m, camera)
    start = perturbed(people, torch.Generator().manual_seed(1), angle_deg=20.0, shift_m=0.1)
    options = {"steps": 60, "sigma_px": (12.0, 3.0), "rate": 0.05}
    found = fit(body, flow, start, part_map, camera, FitOptions(**options))
    without = FitOptions(alignment_weight=0.0, start_weight=0.0, **options)
    blind = fit(body, flow, start, part_map, camera, without)
    before = joint_errors_mm(body, start, people).mean()
    assert joint_errors_mm(body, found, people).mean() < 0.6 * before
    assert joint_errors_mm(body, blind, people).mean() > 0.75 * before
    write_strip(tmp_path / "fit.png", body, camera, part_map, {"start": start, "fit": found, "truth": people})
    assert (tmp_path / "fit.png").stat().st_size > 1000
