"""Mixup of pixels and of codes, RandMix and AdvMix against NumPy, on a linear generator."""

import jax
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import stats

from natra_jax.methods import Latent, mixing
from natra_jax.types import Partners
from tests.helpers import linear_generator, linear_images, linear_params
from tests.methods import made

N, CLASSES, LAYERS, DIM = 1500, 4, 3, 4
GENERATOR = linear_generator(LAYERS, DIM)
PARAMS = linear_params(GENERATOR)
RNG = np.random.default_rng(0)
KEYS = jax.random.split(jax.random.key(2), N)
EPSILON = RNG.uniform(0, 2, N).astype(np.float32)
WEIGHTS = RNG.normal(size=(4, CLASSES)).astype(np.float32)
CODES, OTHERS = (
    RNG.normal(size=(N, LAYERS, DIM)).astype(np.float32),
    RNG.normal(size=(N, 1, LAYERS, DIM)).astype(np.float32),
)
BATCH = {
    "image": linear_images(PARAMS, CODES).astype(np.float32),
    "label": RNG.integers(0, CLASSES, N),
    "codes": CODES,
    "partner_image": linear_images(PARAMS, OTHERS[:, 0]).astype(np.float32)[:, None],
    "partner_label": RNG.integers(0, CLASSES, (N, 1)),
    "partner_codes": OTHERS,
}


def linear(weights, images):
    return images.reshape(len(images), -1) @ weights


def vary(method, batch=BATCH):
    """The variation, from the arrays that the method asks for and no others."""
    asked = (
        {f"partner_{name}": method.partners.count for name in method.partners.arrays}
        if method.partners
        else {}
    )
    given = {
        name: values
        for name, values in batch.items()
        if not name.startswith("partner_") or name in asked
    }
    assert all(given[name].shape[1] == count for name, count in asked.items())
    run = jax.jit(lambda method, *rest: method.vary(Partial(linear, WEIGHTS), *rest))
    return jax.tree.map(np.asarray, run(method, KEYS, given, EPSILON))


def shares(variation):
    """lambda of every example whose partner has another label, read from its targets.

    The targets are mixed of the two labels alone.
    """
    own, other = BATCH["label"], BATCH["partner_label"][:, 0]
    apart = own != other
    rows = np.arange(N)
    share = variation.targets[rows, own]
    expected = share[:, None] * np.eye(CLASSES)[own] + (1 - share)[:, None] * np.eye(CLASSES)[other]
    np.testing.assert_allclose(variation.targets[apart], expected[apart], atol=1e-6)
    np.testing.assert_allclose(variation.targets[~apart], np.eye(CLASSES)[own[~apart]], atol=1e-6)
    return share, apart


@pytest.fixture(scope="module")
def mixed():
    return vary(mixing.mixi(num_classes=CLASSES, alpha=0.2))


def test_mixi_mixes_the_images_as_it_mixes_the_labels(mixed):
    share, apart = shares(mixed)
    weight = share[:, None, None, None]
    expected = weight * BATCH["image"] + (1 - weight) * BATCH["partner_image"][:, 0]
    np.testing.assert_allclose(mixed.inputs[apart], expected[apart], atol=1e-5)
    np.testing.assert_array_equal(mixed.epsilon, EPSILON)
    assert mixed.failed is None, "there is no one class to be right about"


def test_lambda_is_of_the_symmetric_beta_distribution_and_drawn_for_each_example(mixed):
    share, apart = shares(mixed)
    # float32 rounds what is next to 1 to 1
    assert stats.kstest(share[apart], stats.beta(0.2, 0.2).cdf).pvalue > 0.001
    assert stats.kstest(1 - share[apart], stats.beta(0.2, 0.2).cdf).pvalue > 0.001


def test_mixl_is_mixi_where_the_generator_is_linear(mixed):
    of_codes = vary(mixing.mixl(GENERATOR, PARAMS, num_classes=CLASSES, alpha=0.2))
    np.testing.assert_allclose(of_codes.inputs, mixed.inputs, atol=1e-4)
    np.testing.assert_allclose(of_codes.targets, mixed.targets, atol=1e-6)


def method(name, **fields):
    """As an experiment's config makes it, with layers 1 and 2 replaced."""
    latent = Latent(GENERATOR, PARAMS, None)
    return made.method(name, latent, **({"advmix__layers": (1, 3), "advmix__restarts": 1} | fields))


def replaced(others):
    codes = CODES.copy()
    codes[:, 1:] = others[:, 1:]
    return codes


def test_randmix_with_another_examples_codes_keeps_the_other_layers():
    variation = vary(method("randmix", advmix__source="other"))
    images = linear_images(PARAMS, replaced(OTHERS[:, 0]))
    np.testing.assert_allclose(variation.inputs, images, atol=1e-5)
    np.testing.assert_array_equal(
        variation.failed, linear(WEIGHTS, variation.inputs).argmax(1) != BATCH["label"]
    )
    np.testing.assert_array_equal(variation.targets.argmax(1), BATCH["label"])
    np.testing.assert_array_equal(variation.epsilon, EPSILON)


def test_randmix_with_the_prior_draws_one_style_for_all_replaced_layers():
    # layer 0 contributes as before; layers 1 and 2 receive one z of the prior each example
    variation = vary(method("randmix", advmix__source="prior"))
    kept = linear_images(PARAMS, CODES * np.array([1, 0, 0])[:, None])
    both = (PARAMS["layers"][1] + PARAMS["layers"][2]).astype(np.float64)  # [D, pixels], invertible
    z = (variation.inputs - kept).reshape(N, -1) @ np.linalg.inv(both)
    assert np.linalg.cond(both) < 100
    assert stats.kstest(z.ravel(), "norm").pvalue > 0.001
    assert np.abs(np.corrcoef(z.T) - np.eye(DIM)).max() < 0.12


@pytest.fixture(scope="module")
def searched():
    return vary(method("advmix", advmix__source="other", advmix__epsilon=0.2, advmix__num_steps=3))


def cross_entropies(images):
    logits = linear(WEIGHTS.astype(np.float64), images)
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(N), BATCH["label"]]


def test_advmix_is_the_worst_of_a_small_ball_around_randmix(searched):
    start = linear_images(PARAMS, replaced(OTHERS[:, 0]))
    # of a linear generator, the ball's image is start + what the moved layers add: every pixel
    # within 0.2 of its l1 reach
    reach = 0.2 * np.abs(PARAMS["layers"][1:]).sum((0, 1)).reshape(2, 2, 1)
    assert np.all(np.abs(searched.inputs - start) <= reach + 1e-4)
    gain = cross_entropies(searched.inputs) - cross_entropies(start)
    assert gain.min() > -1e-4 and np.median(gain) > 0.01
    np.testing.assert_array_equal(searched.targets, np.eye(CLASSES)[BATCH["label"]])


def test_advmix_at_radius_zero_is_randmix():
    at_zero = vary(
        method("advmix", advmix__source="other", advmix__epsilon=0.0, advmix__num_steps=1)
    )
    np.testing.assert_allclose(
        at_zero.inputs, linear_images(PARAMS, replaced(OTHERS[:, 0])), atol=1e-5
    )


def test_advmix_keeps_the_worst_of_as_many_partners_as_restarts_and_asks_for_them():
    asked = method(
        "advmix",
        advmix__source="other",
        advmix__restarts=4,
        advmix__epsilon=0.0,
        advmix__num_steps=0,
    )
    assert asked.partners == Partners(("codes",), 4)
    four = RNG.normal(size=(N, 4, LAYERS, DIM)).astype(np.float32)
    worst = vary(asked, BATCH | {"partner_codes": four})
    candidates = np.stack([linear_images(PARAMS, replaced(four[:, p])) for p in range(4)])
    far = np.abs(candidates - worst.inputs).max((2, 3, 4))
    assert far.min(0).max() < 1e-4, "each is one of the four"
    losses = np.stack([cross_entropies(images) for images in candidates])
    chosen = losses[far.argmin(0), np.arange(N)]
    # four draws with replacement of four: the worst of all is among them with probability 1 -
    # (3/4)^4
    assert abs((chosen == losses.max(0)).mean() - (1 - 0.75**4)) < 0.05
    assert method("advmix", advmix__source="prior").partners is None
