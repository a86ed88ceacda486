"""The recurrent cell of the learned filter in plain numpy, see `kinestream.latent.recurrent`."""

from collections.abc import Mapping

import numpy as np

from kinestream.kernels.array_types import Float32Array


def recurrent_step(
    arrays: Mapping[str, Float32Array], features: Float32Array, hidden: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """Answer (O,) and next hidden state (H,), from features (F,) and the last hidden state."""

    def affine(name: str, x: Float32Array, end: str = "") -> Float32Array:
        return arrays[f"{name}.weight{end}"] @ x + arrays[f"{name}.bias{end}"]

    embedded = silu(affine("embed", features))
    given, kept = affine("cell", embedded, "_ih"), affine("cell", hidden, "_hh")
    size = len(hidden)
    gates = sigmoid(given[: 2 * size] + kept[: 2 * size])  # in torch's order: reset, update, new
    new = np.tanh(given[2 * size :] + gates[:size] * kept[2 * size :])
    hidden = np.asarray(new + gates[size:] * (hidden - new), np.float32)
    mixed = silu(affine("mix", np.concatenate([hidden, embedded])))
    return np.asarray(affine("head", mixed), np.float32), hidden


def sigmoid(x: Float32Array) -> Float32Array:
    """The logistic function."""
    return np.asarray(np.float32(0.5) * np.tanh(np.float32(0.5) * x) + np.float32(0.5), np.float32)


def silu(x: Float32Array) -> Float32Array:
    """The value times its logistic function."""
    return x * sigmoid(x)


def soft_limit(value: Float32Array, limit: float) -> Float32Array:
    """The value where it is small, and never beyond +-limit."""
    bound = np.float32(limit)
    return np.asarray(bound * np.tanh(value / bound), np.float32)
