"""What a classifier gets right: accuracy, the worst of several true variations, and the worst of a latent search."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from jax.tree_util import Partial

from natra_jax import attacks
from natra_jax.attacks import Attack, Space
from natra_jax.data import to_float

LogitsFn = Callable[[jax.Array], jax.Array]


@jax.jit
def _answers(logits_fn: LogitsFn, images: jax.Array) -> jax.Array:
    return logits_fn(images).argmax(-1)


def predict(logits_fn: LogitsFn, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Classes [N] of images [N, H, W, C], uint8 or float32 in [-1, 1]. logits_fn: a Partial with its weights bound."""
    size = min(batch_size, len(images))
    answers = []
    for i in range(0, len(images), size):
        batch = np.asarray(images[i : i + size])
        batch = to_float(batch) if batch.dtype == np.uint8 else batch
        full = np.resize(batch, (size, *batch.shape[1:]))  # the last batch in the shape of the others: one compilation
        answers.append(np.asarray(_answers(logits_fn, full))[: len(batch)])
    return np.concatenate(answers)


def right_in_all(logits_fn: LogitsFn, views: np.ndarray, labels: np.ndarray, batch_size: int) -> np.ndarray:
    """Whether the classifier is right on every one of an example's V true variations: views [N, V, H, W, C] -> [N] bool."""
    count, num_views = views.shape[:2]
    answers = predict(logits_fn, views.reshape(count * num_views, *views.shape[2:]), batch_size)
    return (answers.reshape(count, num_views) == labels[:, None]).all(1)


def latent_attack(
    search: Attack, space: Space, logits_fn: LogitsFn, codes: np.ndarray, labels: np.ndarray, epsilon: float, seed: int, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The worst variation found of each example: (images [N, H, W, C], whether the classifier is wrong on them [N]).

    The loss is the margin, which is positive exactly where the classifier errs, so the worst point fails if any visited one does.
    codes [N, L, D]; epsilon: the radius for all, in the Space's units.
    """
    size = min(batch_size, len(labels))
    key = jax.random.key(seed)
    images, failed = [], []
    for i in range(0, len(labels), size):
        index = np.resize(np.arange(i, min(i + size, len(labels))), size)
        result = _attack_batch(search, space, logits_fn, key, index, codes[index], labels[index], np.full(size, epsilon, np.float32))
        count = min(size, len(labels) - i)
        images.append(np.asarray(result.inputs)[:count])
        failed.append(np.asarray(result.success)[:count])
    return np.concatenate(images), np.concatenate(failed)


@partial(jax.jit, static_argnums=0)
def _attack_batch(search, space, logits_fn, key, index, codes, labels, epsilon):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
    return search(Partial(_margin_loss, logits_fn, labels), keys, space, codes, epsilon)


def _margin_loss(logits_fn, labels, inputs):
    logits = logits_fn(inputs)
    return attacks.margin(logits, labels), attacks.misclassified(logits, labels)
