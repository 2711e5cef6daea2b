"""One-call attacks for people who have a classifier and nothing else: images in, adversarial images out."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from natra_jax.attacks.pgd import best_of, pgd
from natra_jax.attacks.spaces import linf
from natra_jax.losses import cross_entropy, misclassified


def linf_pgd(
    logits_fn: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: float | jax.Array = 8 / 255,
    step_size: float | None = 2 / 255,
    num_steps: int = 10,
    restarts: int = 1,
    random_start: bool = True,
    key: jax.Array,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> jax.Array:
    """PGD with sign steps in the l-infinity ball (Madry et al. 2018) -> adversarial images, shaped and bounded like images.

    logits_fn: images [B, ...] -> logits [B, C], the classifier in evaluation mode. labels [B] int. epsilon: a number or [B], in the
    units of images, as is step_size (None: 2.5 epsilon / num_steps). The defaults suit images in [0, 1]; in [-1, 1] double them.

    Raises ValueError for images that are not floating point, labels or epsilon of another shape, and a negative epsilon.
    """
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"linf_pgd: images must be floating point within bounds {bounds}, got {images.dtype}")
    epsilon = jnp.asarray(epsilon, images.dtype)
    if labels.shape != images.shape[:1]:
        raise ValueError(f"linf_pgd: labels must be [B] = {images.shape[:1]}, got {labels.shape}")
    if epsilon.shape not in ((), images.shape[:1]):
        raise ValueError(f"linf_pgd: epsilon must be a number or [B] = {images.shape[:1]}, got shape {epsilon.shape}")
    if not isinstance(epsilon, jax.core.Tracer) and bool((epsilon < 0).any()):
        raise ValueError(f"linf_pgd: epsilon must be >= 0, got {epsilon}")

    def loss_fn(inputs):
        logits = logits_fn(inputs)
        return cross_entropy(logits, labels), misclassified(logits, labels)

    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(images.shape[0]))
    search = best_of(pgd(num_steps, step_size, random_start=random_start), restarts)
    return search(loss_fn, keys, linf(bounds), images, jnp.broadcast_to(epsilon, labels.shape)).inputs
