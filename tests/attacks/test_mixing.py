"""The Space of AdvMix: what it keeps and replaces, by what, and how far it moves."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from natra_jax import attacks
from tests.helpers import example_keys, linear_generator, linear_images, linear_params

B, P, STEPS = 5, 3, 3
REPLACED = np.array([False, True, False, True])
LINEAR = linear_generator(num_layers=4)
PARAMS = linear_params(LINEAR)
RADIUS = np.array([0.0, 0.03, 0.03, 0.1, 0.5], np.float32)
PEAK = np.random.default_rng(7).normal(scale=6, size=(2, 2, 1)).astype(np.float32)


def map_(params, z, label=None, truncation_psi=1.0, truncation_cutoff=None):
    """Every layer another function of z, so that codes tell whether they are some map(z)."""
    return jnp.stack([z, jnp.tanh(z), z**2, 1 - 2 * z], axis=1)


GENERATOR = replace(LINEAR, map=map_)


def origin_of(source, seed=0):
    rng = np.random.default_rng(seed)
    codes, others = (
        rng.normal(size=(B, 4, 4)).astype(np.float32),
        rng.normal(size=(B, P, 4, 4)).astype(np.float32),
    )
    return (codes, others) if source == "other" else codes


def nearness(inputs):
    """Highest in the middle of nowhere: every restart has another best point."""
    return -jnp.square(inputs - PEAK).sum(axis=(1, 2, 3)), inputs[:, 0, 0, 0] > 0


def space(source):
    return attacks.mixing(GENERATOR, PARAMS, REPLACED, source=source)


def came_from(source, origin, center):
    """The replaced layers [B, 2, D] are those of some map(z), or of one partner; returns which."""
    perpendicular = np.asarray(center.codes)[:, REPLACED]
    if source == "prior":
        z = (1 - perpendicular[:, 1]) / 2
        np.testing.assert_allclose(perpendicular[:, 0], np.tanh(z), atol=1e-5)
        return z
    same = (origin[1][:, :, REPLACED] == perpendicular[:, None]).all(axis=(2, 3))
    np.testing.assert_array_equal(same.sum(axis=1), 1)
    return same.argmax(axis=1)


@pytest.mark.parametrize("source", ["prior", "other"])
def test_every_restart_replaces_anew_keeps_the_parallel_layers_and_moves_within_its_radius(source):
    origin = origin_of(source)
    codes = origin[0] if source == "other" else origin
    single, best = jax.jit(attacks.pgd(STEPS)), jax.jit(attacks.best_of(attacks.pgd(STEPS), 4))
    arguments = Partial(nearness), example_keys(B), space(source), origin, RADIUS
    runs = [single(*arguments, restart=index) for index in range(4)]
    drawn = []
    for result in (*runs, best(*arguments)):
        np.testing.assert_array_equal(
            np.asarray(result.center.codes)[:, ~REPLACED], codes[:, ~REPLACED]
        )
        drawn.append(came_from(source, origin, result.center))
        assert result.delta.shape == (B, 2, 4)
        assert np.all(np.abs(result.delta).max(axis=(1, 2)) <= RADIUS)
        mixed = np.array(result.center.codes)
        mixed[:, REPLACED] += np.asarray(result.delta)
        np.testing.assert_allclose(result.inputs, linear_images(PARAMS, mixed), atol=1e-4)
    assert len(np.unique(np.stack(drawn[:4]), axis=0)) > 1
    # the best has the center of the restart that won, example by example
    winner = np.stack([np.asarray(run.loss).max(axis=0) for run in runs]).argmax(axis=0)
    np.testing.assert_array_equal(drawn[4], np.stack(drawn[:4])[winner, np.arange(B)])
    assert len(np.unique(winner)) > 1


@pytest.mark.parametrize("source", ["prior", "other"])
def test_no_steps_at_radius_zero_are_randmix(source):
    origin = origin_of(source)
    result = jax.jit(attacks.pgd(0))(
        Partial(nearness), example_keys(B), space(source), origin, 0 * RADIUS
    )
    came_from(source, origin, result.center)
    np.testing.assert_array_equal(result.delta, 0)
    np.testing.assert_allclose(
        result.inputs, linear_images(PARAMS, np.asarray(result.center.codes)), atol=1e-5
    )


def test_what_is_drawn_is_the_priors_and_every_partner_alike_and_apart_from_the_start():
    count = 3000
    rng = np.random.default_rng(0)
    codes, others = (
        rng.normal(size=(count, 4, 4)).astype(np.float32),
        rng.normal(size=(count, P, 4, 4)).astype(np.float32),
    )
    keys = example_keys(count)

    @jax.jit
    def draw(keys):
        prior = space("prior").anchor(keys, codes)
        initial_delta = space("prior").init(keys, prior, jnp.ones(count))
        return prior, space("other").anchor(keys, (codes, others)), initial_delta

    prior, other, initial_delta = draw(keys)
    z = came_from("prior", codes, prior)
    np.testing.assert_allclose([z.mean(), z.var()], [0, 1], atol=0.05)
    np.testing.assert_allclose(
        np.bincount(came_from("other", (codes, others), other)) / count, 1 / P, atol=0.03
    )
    initial_delta = np.asarray(initial_delta, float)
    np.testing.assert_allclose(initial_delta.var(), 1 / 3, rtol=0.05)
    for layer in range(2):
        assert abs(np.corrcoef(z.ravel(), initial_delta[:, layer].ravel())[0, 1]) < 0.05


def test_layers_below_the_first_replaced_one_are_computed_at_the_anchor_alone():
    splits = []

    def head(params, codes, l):
        splits.append(("head", l))
        return GENERATOR.head(params, codes, l)

    def tail(params, features, codes, l):
        splits.append(("tail", l))
        return GENERATOR.tail(params, features, codes, l)

    watched = attacks.mixing(replace(GENERATOR, head=head, tail=tail), PARAMS, REPLACED)
    center = watched.anchor(example_keys(B), origin_of("prior"))
    assert splits == [("head", 1)]
    watched.decode(center, np.zeros((B, 2, 4), np.float32))
    assert splits == [("head", 1), ("tail", 1)]


@pytest.mark.parametrize("source", ["prior", "other"])
def test_what_codes_say_of_their_class_stays_the_examples_own(source):
    origin = origin_of(source)
    codes = origin[0] if source == "other" else origin
    conditional = attacks.mixing(
        replace(GENERATOR, class_entries=(1, 3)), PARAMS, REPLACED, source=source
    )
    result = jax.jit(attacks.pgd(STEPS))(
        Partial(nearness), example_keys(B), conditional, origin, RADIUS
    )
    mixed = np.array(result.center.codes)
    mixed[:, REPLACED] += np.asarray(result.delta)
    np.testing.assert_array_equal(mixed[..., [1, 3]], codes[..., [1, 3]])
    plain = jax.jit(attacks.pgd(STEPS))(
        Partial(nearness), example_keys(B), space(source), origin, RADIUS
    )
    drawn = np.asarray(plain.center.codes)[..., [0, 2]]
    np.testing.assert_array_equal(
        np.asarray(result.center.codes)[..., [0, 2]], drawn, "the rest is replaced as ever"
    )
    np.testing.assert_allclose(result.inputs, linear_images(PARAMS, mixed), atol=1e-4)


def test_the_priors_codes_are_of_every_class_where_the_prior_has_classes():
    seen = []

    def of_class(params, z, label=None, truncation_psi=1.0, truncation_cutoff=None):
        seen.append(label.shape)
        return jnp.broadcast_to(label[:, None, None].astype(float), (len(z), 4, 4))

    conditional = replace(GENERATOR, map=of_class, label_dim=3)
    count = 600
    codes = np.full((count, 4, 4), 9.0, np.float32)
    center = attacks.mixing(conditional, PARAMS, REPLACED).anchor(example_keys(count), codes)
    labels = np.asarray(center.codes)[:, REPLACED]
    assert seen and np.all(labels == labels[:, :1, :1])
    np.testing.assert_allclose(np.bincount(labels[:, 0, 0].astype(int)) / count, 1 / 3, atol=0.07)


@pytest.mark.parametrize("layers", [[True, True], np.zeros(4, bool), np.array([0, 1, 0, 1]), 2])
def test_mixing_refuses_layers_that_are_no_mask_over_the_generators(layers):
    with pytest.raises(
        ValueError, match=r"mixing: layers must be bool \[4\] with at least one True, got"
    ):
        attacks.mixing(GENERATOR, PARAMS, layers)


def test_mixing_refuses_an_unknown_source():
    with pytest.raises(
        ValueError, match="mixing: source must be one of 'prior', 'other', got 'dream'"
    ):
        attacks.mixing(GENERATOR, PARAMS, REPLACED, source="dream")
