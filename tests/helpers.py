"""What several tests need.

Hypothesis settings, keys, a generator that is linear in its codes, and directions in its code
space.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from natra_jax.types import Directions, Generator

few_examples = settings(max_examples=20, deadline=None, derandomize=True)


@contextmanager
def unchecked() -> Iterator[None]:
    """Leave types and shapes unchecked, for values that the code itself refuses or accepts."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def floats32(shape: tuple[int, ...], low: float, high: float) -> st.SearchStrategy[np.ndarray]:
    """float32 arrays of one shape, so that what is compiled for one example serves all of them."""
    return hnp.arrays(
        np.float32, shape, elements=st.floats(low, high, width=32, allow_subnormal=False)
    )


def example_keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def linear_generator(
    num_layers: int = 3, code_dim: int = 4, resolution: int = 2, channels: int = 1
) -> Generator:
    """images = constant + sum over layers of codes[:, l] @ layers[l], reshaped.

    Everything about an attack has a closed form.
    """
    shape = (resolution, resolution, channels)
    pixels = resolution * resolution * channels

    def init(key):
        return {
            "constant": jnp.zeros(pixels),
            "layers": jax.random.normal(key, (num_layers, code_dim, pixels)),
        }

    def sample(key, n):
        return jax.random.normal(key, (n, code_dim))

    def map_(params, z, label=None, truncation_psi=1.0, truncation_cutoff=None):
        return jnp.broadcast_to(truncation_psi * z[:, None], (z.shape[0], num_layers, code_dim))

    def head(params, codes, l):
        return params["constant"] + jnp.einsum("bld,ldp->bp", codes[:, :l], params["layers"][:l])

    def advance(params, features, codes, l, m):
        return features + jnp.einsum("bld,ldp->bp", codes[:, l:m], params["layers"][l:m])

    def tail(params, features, codes, l):
        flat = features + jnp.einsum("bld,ldp->bp", codes[:, l:], params["layers"][l:])
        return flat.reshape(-1, *shape)

    def synthesize(params, codes, label=None, noise="const", key=None):
        return tail(params, head(params, codes, 0), codes, 0)

    return Generator(
        family="linear",
        num_layers=num_layers,
        depth=num_layers,
        code_dim=code_dim,
        resolution=resolution,
        channels=channels,
        label_dim=0,
        init=init,
        sample=sample,
        map=map_,
        synthesize=synthesize,
        head=head,
        advance=advance,
        tail=tail,
        style=lambda params, l: params["layers"][l].T,
    )


def linear_params(generator: Generator, seed: int = 0, channels: int = 1) -> dict[str, np.ndarray]:
    """Parameters of `linear_generator`.

    Quarters of integers, so that sums of a few products are exact in any order.
    """
    rng = np.random.default_rng(seed)
    pixels = generator.resolution**2 * channels
    layers = rng.integers(-4, 5, (generator.num_layers, generator.code_dim, pixels)) / 4
    return {
        "constant": (rng.integers(-4, 5, pixels) / 4).astype(np.float32),
        "layers": layers.astype(np.float32),
    }


def linear_images(
    params: dict[str, np.ndarray], codes: np.ndarray, resolution: int = 2
) -> np.ndarray:
    """What `linear_generator` synthesizes, in NumPy and float64."""
    flat = np.zeros((len(codes), params["layers"].shape[-1])) + params["constant"]
    for layer, matrix in enumerate(params["layers"]):
        flat += codes[:, layer].astype(np.float64) @ matrix.astype(np.float64)
    return flat.reshape(len(codes), resolution, resolution, -1)


def oblique_directions(
    generator: Generator, count: int = 3, first_layer: int = 1, seed: int = 0
) -> Directions:
    """Directions of unit length that are not orthogonal.

    Each moves the layers from one of its own on, none below first_layer.
    """
    rng = np.random.default_rng(seed)
    layers = np.arange(generator.num_layers)
    starts = first_layer + np.arange(count) % (generator.num_layers - first_layer)
    mask = layers[None] >= starts[:, None]
    vectors = rng.normal(size=(count, generator.num_layers, generator.code_dim)) * mask[:, :, None]
    vectors /= np.sqrt(np.square(vectors).sum(axis=(1, 2), keepdims=True))
    return Directions(
        vectors=vectors,
        sigma=rng.uniform(0.5, 2.0, count),
        mean=rng.normal(size=(generator.num_layers, generator.code_dim)),
        mask=mask,
        names=tuple(f"direction {k}" for k in range(count)),
        useful=np.full(count, np.inf),
        generator_fingerprint="linear",
    )


def population_box(
    codes: np.ndarray, directions: Directions, truncation: float | None, units: str = "sigma"
) -> tuple[np.ndarray, np.ndarray]:
    """The box of the specification's section 6 without the ball.

    Lower and upper ends [B, S], by least squares, a number at a time.

    Useful ranges cut it further.
    """
    steps = np.stack(
        [
            (sigma * vector).ravel()
            for sigma, vector in zip(directions.sigma, directions.vectors, strict=True)
        ],
        axis=1,
    )
    low, high = (
        np.zeros((len(codes), len(directions.sigma))),
        np.zeros((len(codes), len(directions.sigma))),
    )
    for b, code in enumerate(np.asarray(codes, np.float64)):
        coordinates = np.linalg.lstsq(steps, (code - directions.mean).ravel(), rcond=None)[0]
        for s, c in enumerate(coordinates):
            low[b, s] = max(
                -directions.useful[s], -np.inf if truncation is None else min(0.0, -truncation - c)
            )
            high[b, s] = min(
                directions.useful[s], np.inf if truncation is None else max(0.0, truncation - c)
            )
    # the same box, measured in the generator's own code units
    scale = directions.sigma if units == "raw" else 1.0
    return low * scale, high * scale


def two_layer_weights(
    inputs: int, classes: int, seed: int = 0, hidden: int = 6, dtype: type = np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of a small smooth classifier, `two_layer`."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(inputs, hidden)).astype(dtype), rng.normal(
        size=(hidden, classes)
    ).astype(dtype)


def two_layer(weights: tuple[np.ndarray, np.ndarray], inputs: jax.Array) -> jax.Array:
    """Logits [B, C] of inputs [B, ...]."""
    first, second = weights
    return jnp.tanh(inputs.reshape(len(inputs), -1) @ first) @ second
