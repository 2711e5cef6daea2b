"""A natra training small enough for tests.

A style generator of 8 pixels with random weights, a classifier of 8 channels.
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import optax

from natra_jax import attacks, classifiers, generators
from natra_jax.methods import Latent, natra, random
from natra_jax.training.state import TrainState, init_state
from natra_jax.training.step import make_step
from natra_jax.types import Batch, Directions, Method

NUM_EXAMPLES, NUM_CLASSES, BATCH_SIZE, RESOLUTION = 24, 4, 8, 8
RHO, EPSILON_MAX, SMOOTHING, CLEAN_RATIO = 0.5, 1.25, 0.2, 0.4
GENERATOR = generators.style_small(
    resolution=RESOLUTION, code_dim=4, base_channels=4, max_channels=4
)


def cast(tree, dtype):
    """The tree with all its floating-point arrays as NumPy's of dtype."""

    def of_dtype(x):
        return (
            np.array(x, dtype)
            if hasattr(x, "dtype") and jax.numpy.issubdtype(x.dtype, np.floating)
            else x
        )

    return jax.tree.map(of_dtype, tree)


def examples() -> dict[str, np.ndarray]:
    """Random images, labels and codes of all training examples."""
    rng = np.random.default_rng(0)
    return {
        "image": rng.uniform(-1, 1, (NUM_EXAMPLES, RESOLUTION, RESOLUTION, 3)).astype(np.float32),
        "label": rng.integers(0, NUM_CLASSES, NUM_EXAMPLES).astype(np.int32),
        "codes": rng.normal(size=(NUM_EXAMPLES, GENERATOR.num_layers, GENERATOR.code_dim)).astype(
            np.float32
        ),
    }


def batch_at(step: int, dtype=np.float32) -> Batch:
    """The batch of a step: every index at most once, other ones in other steps."""
    index = (
        np.random.default_rng(100 + step).permutation(NUM_EXAMPLES)[:BATCH_SIZE].astype(np.int32)
    )
    return cast({name: array[index] for name, array in examples().items()}, dtype) | {
        "index": index
    }


def latent() -> Latent:
    """The generator, random weights for it, and two directions of its last layer."""
    rng = np.random.default_rng(1)
    vectors = np.zeros((2, GENERATOR.num_layers, GENERATOR.code_dim))
    vectors[:, -1] = np.linalg.qr(rng.normal(size=(GENERATOR.code_dim, 2)))[0].T
    directions = Directions(
        vectors=vectors,
        sigma=np.array([1.5, 1.0]),
        mean=np.zeros(vectors.shape[1:]),
        mask=vectors.any(2),
        names=("a", "b"),
        useful=np.full(2, np.inf),
        generator_fingerprint="",
    )
    shapes = jax.eval_shape(GENERATOR.init, jax.random.key(0))
    return Latent(
        GENERATOR, jax.tree.map(lambda s: 0.3 * rng.normal(size=s.shape), shapes), directions
    )


def method(dtype=np.float32, name: str = "natra") -> Method:
    """natra with two steps of search along the two directions, or its counterpart random."""
    generator, params, directions = latent()
    space = attacks.directions(generator, params, directions)
    if name == "random":
        return cast(random.random(space, num_classes=NUM_CLASSES, epsilon=EPSILON_MAX), dtype)
    inner = natra.Inner(attacks.pgd(2, random_start=True), passes=7)
    tuning = natra.Tuning(RHO, EPSILON_MAX, SMOOTHING)
    return cast(natra.natra(space, inner, tuning, num_classes=NUM_CLASSES), dtype)


def builder(norm: str):
    """(axis_name) -> the classifier."""
    return partial(classifiers.build, "cnn", NUM_CLASSES, widths=(8,), norm=norm)


def state(optimizer: optax.GradientTransformation, norm: str, dtype=np.float32) -> TrainState:
    """A fresh state, the same at every call.

    Drawn by NumPy, since compiling the true initialisation would take seconds.
    """
    rng = np.random.default_rng(3)
    shape = (RESOLUTION, RESOLUTION, 3)
    shapes = jax.eval_shape(
        lambda: init_state(builder(norm)(None), optimizer, shape, NUM_EXAMPLES, jax.random.key(0))
    )

    def draw(path, leaf):
        last = path[-1].key
        if last in ("scale", "var"):
            return np.ones(leaf.shape)
        return (
            np.zeros(leaf.shape) if last in ("bias", "mean") else 0.3 * rng.normal(size=leaf.shape)
        )

    fresh = TrainState(
        step=np.zeros((), np.int32),
        params=jax.tree.map_with_path(draw, shapes.params),
        batch_stats=jax.tree.map_with_path(draw, shapes.batch_stats),
        opt_state=jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes.opt_state),
        epsilon=np.zeros(NUM_EXAMPLES),
        delta=None,
        key=jax.random.key(3),
    )
    return cast(fresh, dtype)


def step_maker(optimizer: optax.GradientTransformation, norm: str, traced: list | None = None):
    """(axis_name) -> the step; every time that it is traced, traced grows."""

    def make(axis_name):
        step = make_step(builder(norm), optimizer, axis_name, clean_ratio=CLEAN_RATIO)

        def counted(*arguments):
            if traced is not None:
                traced.append(axis_name)
            return step(*arguments)

        return counted

    return make
