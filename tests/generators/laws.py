"""What holds of every generator, whatever its family: `check` tries all of it on one with random
parameters.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from natra_jax.latents.expansion import expand, expansion
from natra_jax.types import Features, Generator

CLOSE = {"rtol": 1e-4, "atol": 2e-5}


def random_params(generator: Generator, seed: int = 0, scale: float = 0.3):
    """Parameters with noise in every array, also where training starts from zeros or ones;
    variances stay positive.
    """
    rng = np.random.default_rng(seed)
    params = jax.tree.map(
        np.asarray, jax.jit(generator.init)(jax.random.key(seed))
    )  # arithmetic of JAX would be compiled for each shape
    return jax.tree.map(
        lambda leaf: (np.abs if (leaf == 1).all() else np.asarray)(
            leaf + scale * rng.normal(size=leaf.shape)
        ).astype(np.float32),
        params,
    )


def random_codes(generator: Generator, params, seed: int = 1, count: int = 2) -> np.ndarray:
    """Codes that differ from layer to layer, about as far apart as the prior's."""
    draws = [
        np.asarray(generator.draw(params, jax.random.key(seed + l), count))
        for l in range(generator.num_layers)
    ]
    return np.stack([codes[:, l] for l, codes in enumerate(draws)], axis=1)


def check(generator: Generator, params=None, *, unused: tuple[int, ...] = ()) -> None:
    """unused: layers whose code may be without effect."""
    params = random_params(generator) if params is None else params
    shapes = jax.eval_shape(generator.init, jax.random.key(0))
    assert jax.tree.structure(shapes) == jax.tree.structure(params)
    assert "buffers" in params and jax.tree.leaves(
        {k: v for k, v in params.items() if k not in ("mapping", "buffers")}
    )
    assert hash(generator) == hash(generator) and generator.depth >= generator.num_layers
    _check_prior(generator, params)
    codes = random_codes(generator, params)
    whole = np.asarray(jax.jit(generator.synthesize)(params, codes))
    side = generator.resolution
    assert whole.shape == (2, side, side, generator.channels) and whole.std() > 1e-3
    _check_splits(generator, params, codes, whole)
    _check_every_code_matters(generator, params, codes, whole, unused)
    _check_gradient(generator, params, codes)
    _check_expansion(generator, params, codes, whole)
    if generator.style is not None:
        for l in range(generator.num_layers):
            assert generator.style(params, l).shape[1] == generator.code_dim


def _check_prior(generator, params):
    z = generator.sample(jax.random.key(0), 6)
    np.testing.assert_array_equal(z, generator.sample(jax.random.key(0), 6))
    assert np.any(np.asarray(z) != np.asarray(generator.sample(jax.random.key(1), 6)))
    classes = generator.label_dim
    label = np.arange(6) % classes if classes else None
    full = np.asarray(generator.map(params, z, label))
    assert full.shape == (6, generator.num_layers, generator.code_dim)
    assert np.asarray(generator.draw(params, jax.random.key(0), 3)).shape == (3, *full.shape[1:])
    if classes:
        np.testing.assert_allclose(
            generator.map(params, z, np.eye(classes, dtype=np.float32)[label]), full, **CLOSE
        )
        for wrong in (None, np.zeros((6, classes + 1), np.float32), np.zeros(6, np.float32)):
            try:
                generator.map(params, z, wrong)
            except ValueError:
                continue
            raise AssertionError(f"a label of shape {np.shape(wrong)} was taken")
    if not generator.class_entries:
        with pytest.raises(ValueError, match="codes hold no class"):
            generator.synthesize(params, full, label=np.zeros(6, int))
    centre = np.asarray(generator.map(params, z, label, truncation_psi=0.0))
    half = np.asarray(generator.map(params, z, label, truncation_psi=0.5))
    np.testing.assert_allclose(half, (centre + full) / 2, **CLOSE)
    cut = np.asarray(generator.map(params, z, label, truncation_psi=0.5, truncation_cutoff=1))
    np.testing.assert_allclose(cut[:, :1], half[:, :1], **CLOSE)
    np.testing.assert_allclose(cut[:, 1:], full[:, 1:], **CLOSE)


def _check_splits(generator, params, codes, whole):
    depth = generator.depth

    @jax.jit
    def parts(params, codes, others):
        heads = [generator.head(params, codes, l) for l in range(depth + 1)]
        tails = [
            generator.tail(params, heads[l], others.at[:, l:].set(codes[:, l:]), l)
            for l in range(depth + 1)
        ]
        pairs = [(0, depth), (0, 1), (depth // 2, depth), (1, max(1, depth - 1)), (depth, depth)]
        ends = [
            (
                generator.advance(params, heads[l], others.at[:, l:m].set(codes[:, l:m]), l, m),
                heads[m],
            )
            for l, m in pairs
        ]
        return tails, ends

    tails, ends = parts(params, codes, jnp.asarray(codes[::-1]))
    for l, images in enumerate(tails):
        np.testing.assert_allclose(images, whole, err_msg=f"split behind layer {l}", **CLOSE)
    for advanced, expected in ends:
        assert jax.tree.structure(advanced) == jax.tree.structure(expected)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), advanced, expected)


def _check_every_code_matters(generator, params, codes, whole, unused):
    synthesize = jax.jit(generator.synthesize)
    for l in range(generator.num_layers):
        other = codes.copy()
        other[0, l] = codes[1, l]
        changed = np.abs(np.asarray(synthesize(params, other)) - whole)
        assert changed[0].max() > 1e-5 or l in unused, f"layer {l} does nothing"
        np.testing.assert_allclose(changed[1], 0, atol=2e-5, err_msg="examples touch each other")


def _check_gradient(generator, params, codes):
    gradient = jax.jit(
        jax.grad(lambda codes: jnp.square(generator.synthesize(params, codes)).sum())
    )(codes)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def _check_expansion(generator, params, codes, whole):
    for at in {1, generator.depth // 2 + 1, generator.depth}:
        layout = expansion(generator, num_codes=2, at=at)
        expanded = expand(generator, layout)
        channels = layout.channels
        features = jax.eval_shape(lambda p, c: generator.head(p, c, at), params, codes)  # noqa: B023
        weighed = features.x if isinstance(features, Features) else features
        assert channels == sum(leaf.shape[-1] for leaf in jax.tree.leaves(weighed))
        equal = layout.pack(np.stack([codes, codes], 1), np.zeros((2, 2, channels), np.float32))
        # all of the importance on the first code: the features are the first's alone
        logits = np.stack([np.full((2, channels), 60.0), np.full((2, channels), -60.0)], 1).astype(
            np.float32
        )
        first = layout.pack(np.stack([codes, codes[::-1]], 1), logits)
        images, composed, alone, other = jax.jit(_expanded_and_alone, static_argnums=(0, 1, 2))(
            generator, expanded, at, params, equal, first, codes
        )
        np.testing.assert_allclose(images, whole, **CLOSE)
        if isinstance(composed, Features):
            if alone.rgb is not None:
                np.testing.assert_allclose(
                    composed.rgb, (np.asarray(alone.rgb) + np.asarray(other.rgb)) / 2, **CLOSE
                )
            composed, alone = composed.x, alone.x
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), composed, alone)


def _expanded_and_alone(generator, expanded, at, params, equal, first, codes):
    heads = [generator.head(params, c, at) for c in (codes, codes[::-1])]
    return expanded.synthesize(params, equal), expanded.head(params, first, at), *heads
