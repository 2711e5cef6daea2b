"""One update of the classifier, written for one device against a named axis (None on one device)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.tree_util import Partial

from natra_jax.classifiers import auxiliary_batch_norm
from natra_jax.classifiers.advbn import Cut
from natra_jax.losses import cross_entropy
from natra_jax.training.state import TrainState
from natra_jax.types import Batch, Method, Variation

# Folded into keys, so that draws for different uses are independent; larger than any step and any number of restarts.
_DROPOUT, _FEATURES = 0xFFFFFFFF, 0xFFFFFFFE


class _Perturbed(NamedTuple):
    """What a method that acts on features trains on, at the cut of the classifier."""

    cut: Cut
    plain: jax.Array  # features of the clean images, and of their variations where there are such
    features: jax.Array  # [B, ...], perturbed
    targets: jax.Array  # [B, C]
    failed: jax.Array  # [B]


def make_step(
    build_classifier: Callable[[str | None], nn.Module],
    optimizer: optax.GradientTransformation,
    axis_name: str | None,
    *,
    clean_ratio: float = 0.5,
    failures_only: bool = False,
    pseudo_confidence: float | None = None,
) -> Callable[[Method, TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """(method, state, batch) -> (state, metrics): the outer minimisation of NaTra eq. 14.

    build_classifier: (axis_name) -> the classifier. clean_ratio: weight of the clean images' loss, the variations' has the rest;
    a method without variations trains on the clean images alone. failures_only: only variations that the classifier gets wrong count
    (eq. 7), the others add nothing to the loss. A method that perturbs features trains the head alone, on images as above with the
    clean BatchNorm and on the perturbed features with its adversarial twin, 1:1 (AdvBN). metrics are means over the batch and axis_name.

    pseudo_confidence: for data with unlabelled examples, whose labels are below 0 (NaTra section 4.2). They get the label that the
    classifier gives them, as it stands, and count wherever it is at least so sure (Sohn et al. 2020, FixMatch); None where all are
    labelled.
    """
    classifier = build_classifier(axis_name)

    def mean_over_devices(tree):
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    def logits_fn(variables, images):
        return classifier.apply(variables, images, train=False)

    def perturb(
        method: Method, variables, keys, batch: Batch, variation: Variation | None
    ) -> _Perturbed:
        cut = Cut.of(classifier, variables, batch["image"].shape)
        plain = cut.trunk(variables, _images(batch, variation))
        varied = plain[-len(batch["label"]) :]
        # the logits' shape alone is wanted here, so nothing is computed
        num_classes = jax.eval_shape(cut.head, variables, varied).shape[-1]
        targets = (
            jax.nn.one_hot(batch["label"], num_classes, dtype=varied.dtype)
            if variation is None
            else variation.targets
        )
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, _FEATURES)
        features, failed = method.perturb(
            Partial(cut.head, auxiliary_batch_norm.adversarial(variables)),
            keys,
            varied,
            targets,
            cut.relu,
        )
        return _Perturbed(cut, plain, features, targets, failed)

    def forward(params, batch_stats, batch: Batch, variation, perturbed: _Perturbed | None, rngs):
        """(logits of clean and varied images together, logits of perturbed features or None, new batch_stats), training."""
        variables = {"params": params, "batch_stats": batch_stats}
        if perturbed is None:
            logits, updated = classifier.apply(
                variables, _images(batch, variation), train=True, mutable=["batch_stats"], rngs=rngs
            )
            return logits, None, updated.get("batch_stats", {})
        logits, of_clean = perturbed.cut.train_head(
            auxiliary_batch_norm.clean(variables), perturbed.plain, rngs
        )
        adversarial, of_adversarial = perturbed.cut.train_head(
            auxiliary_batch_norm.adversarial(variables), perturbed.features, rngs
        )
        return (
            logits,
            adversarial,
            auxiliary_batch_norm.with_stats(batch_stats, of_clean, of_adversarial),
        )

    def counted(batch: Batch, losses):
        return losses if pseudo_confidence is None else jnp.where(batch["counts"], losses, 0.0)

    def loss_fn(params, batch_stats, method: Method, batch: Batch, variation, perturbed, rngs):
        logits, adversarial, batch_stats = forward(
            params, batch_stats, batch, variation, perturbed, rngs
        )
        clean, varied = jnp.split(logits, [len(batch["label"])])
        loss = counted(batch, cross_entropy(clean, batch["label"])).mean()
        metrics = {"accuracy": _accuracy(clean, batch)}
        if variation is not None:
            losses = method.loss(varied, variation.targets, batch["label"])
            if failures_only and variation.failed is not None:
                losses = jnp.where(variation.failed, losses, 0.0)
            loss = clean_ratio * loss + (1 - clean_ratio) * counted(batch, losses).mean()
            metrics |= {name: value.mean() for name, value in variation.metrics.items()}
            if variation.failed is not None:
                metrics["attack_success"] = variation.failed.mean()
        if perturbed is not None:
            loss = (loss + counted(batch, cross_entropy(adversarial, perturbed.targets)).mean()) / 2
            metrics["feature_attack_success"] = perturbed.failed.mean()
        return loss, (batch_stats, metrics | {"loss": loss})

    def step(method: Method, state: TrainState, batch: Batch):
        of_step = jax.random.fold_in(state.key, state.step)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(of_step, batch["index"])
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        variation, perturbed, epsilon = None, None, state.epsilon
        if pseudo_confidence is not None:
            batch = _pseudo_labelled(
                batch,
                logits_fn(auxiliary_batch_norm.clean(variables), batch["image"]),
                pseudo_confidence,
            )
        if method.vary is not None:
            frozen = Partial(logits_fn, auxiliary_batch_norm.clean(variables))
            variation = jax.lax.stop_gradient(
                method.vary(frozen, keys, batch, state.epsilon[batch["index"]])
            )
            seen = (batch["index"], variation.epsilon)
            if axis_name is not None:
                seen = jax.lax.all_gather(seen, axis_name, tiled=True)
            epsilon = epsilon.at[seen[0]].set(seen[1].astype(epsilon.dtype))
        if method.perturb is not None:
            perturbed = perturb(method, variables, keys, batch, variation)
        key_dropout = jax.random.fold_in(jax.random.fold_in(state.key, _DROPOUT), state.step)
        rngs = {
            "params": _of_device(key_dropout, axis_name)
        }  # what Flax falls back to for streams of any name
        gradients, (batch_stats, metrics) = jax.grad(loss_fn, has_aux=True)(
            state.params, state.batch_stats, method, batch, variation, perturbed, rngs
        )
        gradients, batch_stats, metrics = mean_over_devices((gradients, batch_stats, metrics))
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        if perturbed is not None:
            # without a gradient, weight decay would still wear the trunk down
            params = perturbed.cut.keep_trunk(state.params, params)
        return TrainState(
            state.step + 1, params, batch_stats, opt_state, epsilon, state.key
        ), metrics

    return step


def _pseudo_labelled(batch: Batch, logits: jax.Array, confidence: float) -> Batch:
    """The batch with the classifier's answers in place of missing labels; 'counts', 'labelled' [B]: whether it is trained on, and known."""
    labelled = batch["label"] >= 0
    sure = jax.nn.softmax(logits.astype(jnp.float32)).max(-1) >= confidence
    label = jnp.where(labelled, batch["label"], logits.argmax(-1).astype(batch["label"].dtype))
    return batch | {"label": label, "counts": labelled | sure, "labelled": labelled}


def _accuracy(logits: jax.Array, batch: Batch) -> jax.Array:
    """Of the labelled examples; 1 where there is none."""
    right = logits.argmax(-1) == batch["label"]
    if "labelled" not in batch:
        return right.mean()
    return jnp.where(
        batch["labelled"].any(),
        (right & batch["labelled"]).sum() / jnp.maximum(batch["labelled"].sum(), 1),
        1.0,
    )


def _images(batch: Batch, variation: Variation | None) -> jax.Array:
    """The clean images, and their variations behind them."""
    clean = batch["image"]
    return (
        clean
        if variation is None
        else jnp.concatenate([clean, variation.inputs.astype(clean.dtype)])
    )


def _of_device(key: Any, axis_name: str | None) -> Any:
    return key if axis_name is None else jax.random.fold_in(key, jax.lax.axis_index(axis_name))
