"""What a classifier gets right: accuracy, the worst of several true variations, and the worst that an attack finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from natra_jax import attacks
from natra_jax.attacks import Attack, Space
from natra_jax.data import Images, to_float

LogitsFn = Callable[[jax.Array], jax.Array]


def even_batches(count: int, most: int) -> Iterator[np.ndarray]:
    """Indices of 0..count - 1 in the fewest batches of at most `most`, all of one size, so that a program is compiled once.

    The last one is filled up with indices that it has already: cut what is made of all batches to count.
    """
    size = -(-count // -(-count // most))
    for i in range(0, count, size):
        yield np.resize(np.arange(i, min(i + size, count)), size)


@jax.jit
def _answers(logits_fn: LogitsFn, images: jax.Array) -> jax.Array:
    return logits_fn(images).argmax(-1)


def predict(logits_fn: LogitsFn, images: Images, batch_size: int) -> np.ndarray:
    """Classes [N] of images [N, H, W, C], uint8 or float32 in [-1, 1]. logits_fn: a Partial with its weights bound."""
    predictions = []
    for index in even_batches(len(images), batch_size):
        batch = np.asarray(images[index])
        predictions.append(
            _answers(logits_fn, to_float(batch) if batch.dtype == np.uint8 else batch)
        )
    return np.concatenate(predictions)[: len(images)]


def right_in_all(
    logits_fn: LogitsFn, views: np.ndarray, labels: np.ndarray, batch_size: int
) -> np.ndarray:
    """Whether the classifier is right on every one of an example's V true variations: views [N, V, H, W, C] -> [N] bool."""
    count, num_views = views.shape[:2]
    predictions = predict(logits_fn, views.reshape(count * num_views, *views.shape[2:]), batch_size)
    return (predictions.reshape(count, num_views) == labels[:, None]).all(1)


class Attacked(NamedTuple):
    """What an attack made of a data set."""

    images: np.ndarray  # [N, H, W, C], the worst found
    failed: np.ndarray  # [N] bool, the classifier is wrong on it
    delta: Any  # [N, ...], where in the Space it lies
    loss: np.ndarray  # [N], the highest loss found


def attack(
    search: Attack,
    space: Space,
    logits_fn: LogitsFn,
    origin: np.ndarray,
    labels: np.ndarray,
    epsilon: float,
    *,
    loss: str = "margin",
    seed: int,
    batch_size: int,
) -> Attacked:
    """The worst point that the search finds for each example, in codes or pixels: origin [N, ...], epsilon in the Space's units for all.

    The margin is positive exactly where the classifier errs, so with it the worst point fails if any visited one does. Pass the same
    search object again: it is compiled once.
    """
    key = jax.random.key(seed)
    parts = []
    for index in even_batches(len(labels), batch_size):
        radius = np.full(len(index), epsilon, np.float32)
        parts.append(
            _attack_batch(
                search, loss, space, logits_fn, key, index, origin[index], labels[index], radius
            )
        )
    return jax.tree.map(lambda *arrays: np.concatenate(arrays)[: len(labels)], *parts)


@partial(jax.jit, static_argnums=(0, 1))
def _attack_batch(search, loss, space, logits_fn, key, index, origin, labels, epsilon):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
    result = search(attacks.objective(logits_fn, labels, loss=loss), keys, space, origin, epsilon)
    return Attacked(result.inputs, result.success, result.delta, jnp.nanmax(result.loss, axis=0))
