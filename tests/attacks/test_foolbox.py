"""The same attacks as foolbox's, on the same classifier from the same start: iterate by iterate."""

import warnings
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from natra_jax import attacks
from tests.helpers import example_keys, two_layer, two_layer_weights

with warnings.catch_warnings():
    # foolbox 3.3.4 imports from a module that SciPy has renamed
    warnings.filterwarnings(
        "ignore",
        "Please import `gaussian_filter` from the `scipy.ndimage` namespace",
        DeprecationWarning,
    )
    import foolbox
    from foolbox.attacks import FGSM, L2PGD, MIFGSM, LinfPGD
    from foolbox.attacks.gradient_descent_base import normalize_lp_norms

B, SHAPE, STEPS, DECAY = 6, (2, 2, 3), 5, 0.9
WEIGHTS = two_layer_weights(12, 4)
IMAGES = np.random.default_rng(1).uniform(0.02, 0.98, (B, *SHAPE)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 0, 1])


@jax.jit
def logits_fn(images):
    return two_layer(WEIGHTS, images)


@cache
def model():
    return foolbox.JAXModel(logits_fn, bounds=(0.0, 1.0))


class Remembered:
    """A foolbox attack that keeps every point at which it takes the gradient."""

    def value_and_grad(self, loss_fn, x):
        self.candidate.append(np.asarray(x.raw))
        return super().value_and_grad(loss_fn, x)


class DongMIFGSM(MIFGSM):
    """foolbox 3.3.4 adds up the signs of the gradients.

    Dong et al. (2018, eq. 6) add up the gradients over their l1 norms.
    """

    def normalize(self, gradients, *, x, bounds):
        return normalize_lp_norms(gradients, p=1)


CASES = {
    "linf": (
        LinfPGD,
        {"abs_stepsize": 0.03, "random_start": False},
        0.08,
        attacks.pgd(STEPS, 0.03),
        attacks.linf,
    ),
    "l2": (
        L2PGD,
        {"abs_stepsize": 0.1, "random_start": False},
        0.3,
        attacks.pgd(STEPS, 0.1, rule="l2"),
        attacks.l2,
    ),
    "mim": (
        DongMIFGSM,
        {"abs_stepsize": 0.03, "momentum": DECAY},
        0.08,
        attacks.pgd(STEPS, 0.03, decay=DECAY),
        attacks.linf,
    ),
}


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_pgd_visits_the_same_points_as_foolbox(name, targeted):
    kind, options, epsilon, search, space = CASES[name]
    theirs = type("Theirs", (Remembered, kind), {})(steps=STEPS, **options)
    theirs.candidate = []
    criterion = foolbox.TargetedMisclassification if targeted else foolbox.Misclassification
    last = theirs.run(model(), jnp.asarray(IMAGES), criterion(jnp.asarray(LABELS)), epsilon=epsilon)
    expected = [*theirs.candidate, np.asarray(last)]
    np.testing.assert_array_equal(expected[0], IMAGES)

    result, candidate = remembered(search, space, epsilon, targeted)
    assert len(candidate) == len(expected) == STEPS + 1
    np.testing.assert_allclose(candidate, expected, atol=1e-5)
    # theirs returns the last of these points, ours the one with the highest loss
    losses = np.stack([cross_entropy(x) * (-1 if targeted else 1) for x in expected])
    np.testing.assert_allclose(result.loss, losses, atol=1e-5)
    np.testing.assert_allclose(
        result.inputs, np.stack(expected)[losses.argmax(axis=0), np.arange(B)], atol=1e-5
    )
    right = numpy_logits(np.asarray(result.inputs)).argmax(axis=1) == LABELS
    np.testing.assert_array_equal(result.success, right if targeted else ~right)
    # the ball and the bounds have both cut something
    moves = (expected[-1] - IMAGES).reshape(B, -1)
    length = np.linalg.norm(moves, axis=1) if name == "l2" else np.abs(moves).max(axis=1)
    assert np.any(length > epsilon - 1e-6)
    assert np.any(expected[-1] == 0) or np.any(expected[-1] == 1)


def remembered(search, space, epsilon, targeted=False):
    """A search's result, and all the points that it visited, in order."""
    candidate = []

    def loss_fn(labels, inputs):
        jax.debug.callback(lambda x: candidate.append(np.asarray(x)), inputs, ordered=True)
        return attacks.objective(logits_fn, labels, targeted=targeted)(inputs)

    radii = np.full(B, epsilon, np.float32)
    result = jax.jit(search)(
        Partial(loss_fn, LABELS), example_keys(B), space((0.0, 1.0)), IMAGES, radii
    )
    jax.effects_barrier()
    return result, candidate


def numpy_logits(images):
    return np.tanh(images.reshape(B, -1).astype(np.float64) @ WEIGHTS[0]) @ WEIGHTS[1]


def cross_entropy(images):
    logits = numpy_logits(images)
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(B), LABELS]


def test_fgsm_is_foolboxes_where_its_step_raises_the_loss():
    theirs = np.asarray(FGSM().run(model(), jnp.asarray(IMAGES), jnp.asarray(LABELS), epsilon=0.05))
    ours = np.asarray(attacks.fgsm(logits_fn, IMAGES, LABELS, epsilon=0.05))
    raised = cross_entropy(theirs) > cross_entropy(IMAGES)
    assert raised.sum() >= B - 1
    np.testing.assert_allclose(ours[raised], theirs[raised], atol=1e-5)
    np.testing.assert_array_equal(ours[~raised], IMAGES[~raised])


def test_with_restarts_ours_is_never_weaker_than_the_best_of_as_many_runs_of_foolbox():
    restarts = 4
    search = attacks.best_of(attacks.pgd(STEPS, 0.05, random_start=True), restarts)
    result, candidate = remembered(search, attacks.linf, 0.2)
    starts = candidate[:: STEPS + 1]
    assert len(starts) == restarts
    remaining = iter(starts)

    class FromTheSameStart(LinfPGD):
        def get_random_start(self, x0, epsilon):
            return x0 + (next(remaining) - IMAGES)

    theirs = FromTheSameStart(steps=STEPS, abs_stepsize=0.05, random_start=True)
    reached = []
    for _ in range(restarts):
        reached.append(
            cross_entropy(
                np.asarray(
                    theirs.run(model(), jnp.asarray(IMAGES), jnp.asarray(LABELS), epsilon=0.2)
                )
            )
        )
    assert np.all(cross_entropy(np.asarray(result.inputs)) >= np.max(reached, axis=0) - 1e-5)
    # the case is worth its name only if different starts win
    assert len(np.unique(np.argmax(reached, axis=0))) > 1
