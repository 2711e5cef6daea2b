"""Images without labels beside labelled ones: what they are taken for, and when they count."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from natra_jax.losses import cross_entropy
from natra_jax.methods.original import original
from natra_jax.training.step import make_step
from tests.training import small

BUILD = small.builder("group")
NETWORK = BUILD(None)
OPTIMIZER = optax.sgd(0.5)
HIDDEN = np.arange(small.BATCH_SIZE) % 3 == 0  # the examples whose labels are missing


def batch(hidden=HIDDEN):
    made = small.batch_at(0)
    return made | {"label": np.where(hidden, -1, made["label"]).astype(np.int32)}


def updated(of_batch, pseudo_confidence):
    step = make_step(BUILD, OPTIMIZER, None, pseudo_confidence=pseudo_confidence)
    state, metrics = jax.jit(step)(original(), small.state(OPTIMIZER, "group"), of_batch)
    return state.params, metrics


def logits():
    state = small.state(OPTIMIZER, "group")
    return np.asarray(
        NETWORK.apply({"params": state.params, "batch_stats": {}}, small.batch_at(0)["image"])
    )


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), a, b)


def test_a_sure_classifier_s_answer_is_the_missing_label():
    answered = batch() | {
        "label": np.where(HIDDEN, logits().argmax(-1), small.batch_at(0)["label"]).astype(np.int32)
    }
    found, metrics = updated(batch(), 0.0)
    wanted, _ = updated(answered, None)
    close(found, wanted)
    right = logits().argmax(-1) == small.batch_at(0)["label"]
    assert metrics["accuracy"] == pytest.approx(right[~HIDDEN].mean()), "of the labelled ones alone"


def test_what_the_classifier_is_not_sure_of_counts_nothing():
    state = small.state(OPTIMIZER, "group")
    image, label = batch()["image"], jnp.asarray(small.batch_at(0)["label"])

    def loss(params):
        each = cross_entropy(
            NETWORK.apply({"params": params, "batch_stats": {}}, image, train=True), label
        )
        return jnp.where(HIDDEN, 0.0, each).sum() / len(label)

    wanted = optax.apply_updates(
        state.params, jax.tree.map(lambda g: -0.5 * g, jax.grad(loss)(state.params))
    )
    found, _ = updated(batch(), 1.0)
    close(found, wanted)


@pytest.mark.parametrize("confidence", [0.0, 0.9])
def test_labels_that_are_there_stay_as_they_are(confidence):
    found, metrics = updated(batch(np.zeros_like(HIDDEN)), confidence)
    wanted, of_labelled = updated(batch(np.zeros_like(HIDDEN)), None)
    close(found, wanted)
    assert metrics["accuracy"] == of_labelled["accuracy"]


def test_a_variation_of_an_unlabelled_image_is_of_its_pseudo_label():
    step = make_step(BUILD, OPTIMIZER, None, pseudo_confidence=0.0, clean_ratio=small.CLEAN_RATIO)
    answered = batch() | {
        "label": np.where(HIDDEN, logits().argmax(-1), small.batch_at(0)["label"]).astype(np.int32)
    }
    plain = make_step(BUILD, OPTIMIZER, None, clean_ratio=small.CLEAN_RATIO)
    found, _ = jax.jit(step)(small.method(), small.state(OPTIMIZER, "group"), batch())
    wanted, _ = jax.jit(plain)(small.method(), small.state(OPTIMIZER, "group"), answered)
    close(found.params, wanted.params)
    np.testing.assert_array_equal(found.epsilon, wanted.epsilon)
