"""Accuracy, on true variations as well, and the worst that an attack finds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, PyTree

from natra_jax import attacks, interruption
from natra_jax.attacks import Attack, Space
from natra_jax.attacks.objective import evaluated
from natra_jax.data import Images, to_float
from natra_jax.files import require_whole
from natra_jax.types import LogitsFn


def even_batches(count: int, most: int) -> Iterator[np.ndarray]:
    """Split the indices 0..count - 1 into the fewest batches of at most `most`, all of one size.

    So a program is compiled once. The last batch is filled up with indices that it has already:
    cut what is made of all batches to count.
    """
    size = -(-count // -(-count // most))
    for i in range(0, count, size):
        interruption.check()
        yield np.resize(np.arange(i, min(i + size, count)), size)


@jax.jit
def _predictions(logits_fn: LogitsFn, images: jax.Array) -> jax.Array:
    return evaluated(logits_fn, images).argmax(-1)


def predict(logits_fn: LogitsFn, images: Images, batch_size: int) -> np.ndarray:
    """Predict the classes [N] of images [N, H, W, C], uint8 or float32 in [-1, 1].

    logits_fn: a Partial with its weights bound.
    """
    predictions = []
    for index in even_batches(len(images), batch_size):
        require_whole(images)
        batch = np.asarray(images[index])
        predictions.append(
            _predictions(logits_fn, to_float(batch) if batch.dtype == np.uint8 else batch)
        )
    return np.concatenate(predictions)[: len(images)]


def right_on_views(
    logits_fn: LogitsFn, views: np.ndarray, labels: np.ndarray, batch_size: int
) -> np.ndarray:
    """Tell on which of an example's true variations the classifier is right.

    Args:
        logits_fn: a Partial with its weights bound.
        views: V variations of each example, [N, V, H, W, C].
        labels: [N].
        batch_size: the most images at once.

    Returns:
        bool [N, V].
    """
    count, num_views = views.shape[:2]
    predictions = predict(logits_fn, views.reshape(count * num_views, *views.shape[2:]), batch_size)
    return predictions.reshape(count, num_views) == labels[:, None]


class _Batch(NamedTuple):
    """Examples to attack: NumPy's arrays outside of jit, JAX's inside."""

    index: Any  # [B], the examples' places in the data set
    origin: Any  # [B, ...], codes or images
    labels: Any  # [B]
    epsilon: Any  # [B]


class Attacked(NamedTuple):
    """The worst points that an attack found for a data set."""

    images: Float[np.ndarray, "N H W C"]
    failed: Bool[np.ndarray, " N"]  # whether the classifier is wrong on it
    delta: PyTree  # [N, ...], its place in the Space
    loss: Float[np.ndarray, " N"]  # the highest found


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
    """Find the worst point for each example, in codes or pixels.

    Args:
        search: one of `natra_jax.attacks`.
        space: to search in.
        logits_fn: a Partial with its weights bound.
        origin: codes or images, [N, ...].
        labels: [N].
        epsilon: the radius of all, in the Space's units.
        loss: as in `attacks.objective`. The margin is positive exactly where the classifier errs,
            so with it the worst point fails if any visited one does.
        seed: of the random starts. An example's draws depend on its index alone.
        batch_size: the most examples at once.

    Returns:
        The worst points.
    """
    key = jax.random.key(seed)
    parts = []
    for index in even_batches(len(labels), batch_size):
        radius = np.full(len(index), epsilon, np.float32)
        batch = _Batch(index, origin[index], labels[index], radius)
        parts.append(_attack_batch(search, loss, space, logits_fn, key, batch))
    whole = jax.tree.map(lambda *arrays: np.concatenate(arrays)[: len(labels)], *parts)
    return Attacked(*whole)


@partial(jax.jit, static_argnums=(0, 1))
def _attack_batch(
    search: Attack, loss: str, space: Space, logits_fn: LogitsFn, key: jax.Array, batch: _Batch
) -> tuple[jax.Array, jax.Array, PyTree, jax.Array]:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch.index)
    loss_fn = attacks.objective(logits_fn, batch.labels, loss=loss)
    result = search(loss_fn, keys, space, batch.origin, batch.epsilon)
    return result.inputs, result.success, result.delta, jnp.nanmax(result.loss, axis=0)
