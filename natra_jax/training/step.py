"""One update of the classifier, written for one device against a named axis (None on one device)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.tree_util import Partial

from natra_jax.losses import cross_entropy
from natra_jax.training.state import TrainState
from natra_jax.types import Batch, Method, Variation


def make_step(
    build_classifier: Callable[[str | None], nn.Module], optimizer: optax.GradientTransformation, clean_ratio: float, axis_name: str | None
) -> Callable[[Method, TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """(method, state, batch) -> (state, metrics): the outer minimisation of NaTra eq. 14.

    build_classifier: (axis_name) -> the classifier. clean_ratio: weight of the clean images' loss, the variations' has the rest;
    a method without variations trains on the clean images alone. metrics are means over the batch and over axis_name.
    """
    classifier = build_classifier(axis_name)

    def mean_over_devices(tree):
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    def logits_fn(params, batch_stats, images):
        return classifier.apply({"params": params, "batch_stats": batch_stats}, images, train=False)

    def loss_fn(params, batch_stats, batch: Batch, variation: Variation | None):
        clean = batch["image"]
        images = clean if variation is None else jnp.concatenate([clean, variation.inputs.astype(clean.dtype)])
        logits, updated = classifier.apply({"params": params, "batch_stats": batch_stats}, images, train=True, mutable=["batch_stats"])
        clean_logits, varied_logits = jnp.split(logits, [len(clean)])
        loss = cross_entropy(clean_logits, batch["label"]).mean()
        metrics = {"accuracy": (clean_logits.argmax(-1) == batch["label"]).mean()}
        if variation is not None:
            loss = clean_ratio * loss + (1 - clean_ratio) * cross_entropy(varied_logits, variation.targets).mean()
            metrics |= {name: value.mean() for name, value in variation.metrics.items()}
        return loss, (updated.get("batch_stats", {}), metrics | {"loss": loss})

    def step(method: Method, state: TrainState, batch: Batch):
        variation, epsilon = None, state.epsilon
        if method.vary is not None:
            of_step = jax.random.fold_in(state.key, state.step)
            keys = jax.vmap(jax.random.fold_in, (None, 0))(of_step, batch["index"])
            frozen = Partial(logits_fn, state.params, state.batch_stats)
            variation = jax.lax.stop_gradient(method.vary(frozen, keys, batch, state.epsilon[batch["index"]]))
            seen = (batch["index"], variation.epsilon)
            if axis_name is not None:
                seen = jax.lax.all_gather(seen, axis_name, tiled=True)
            epsilon = epsilon.at[seen[0]].set(seen[1].astype(epsilon.dtype))
        gradients, (batch_stats, metrics) = jax.grad(loss_fn, has_aux=True)(state.params, state.batch_stats, batch, variation)
        gradients, batch_stats, metrics = mean_over_devices((gradients, batch_stats, metrics))
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, batch_stats, opt_state, epsilon, state.key), metrics

    return step
