"""One update of the classifier, written for one device against a named axis of devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.tree_util import Partial
from jaxtyping import Bool, Float

from natra_jax.classifiers import auxiliary_batch_norm
from natra_jax.classifiers.advbn import Cut
from natra_jax.losses import cross_entropy
from natra_jax.training.state import TrainState
from natra_jax.types import Array, Batch, Keys, Method, Params, Perturb, Variation

T = TypeVar("T")
Metrics = dict[str, Float[Array, ""]]
Variables = dict[str, Any]  # "params" and "batch_stats", each a pytree of arrays

# Folded into keys, so that draws for different uses are independent; larger than any step and any
# number of restarts.
_DROPOUT, _FEATURES = 0xFFFFFFFF, 0xFFFFFFFE


class _Perturbed(NamedTuple):
    """Perturbed features at the cut of the classifier, for a method that acts on features."""

    cut: Cut
    plain: Float[Array, "images *space F"]
    """The features of the clean images, and of their variations where there are such."""
    features: Float[Array, "B *space F"]  # perturbed
    targets: Float[Array, "B C"]
    failed: Bool[Array, " B"]


class _Outputs(NamedTuple):
    """The results of the training pass."""

    logits: Float[Array, "images C"]  # of clean and varied images together
    adversarial: Float[Array, "B C"] | None  # of the perturbed features, where there are such
    batch_stats: Params


def make_step(
    build_classifier: Callable[[str | None], nn.Module],
    optimizer: optax.GradientTransformation,
    axis_name: str | None,
    *,
    clean_ratio: float | Float[Array, ""] = 0.5,
    failures_only: bool = False,
    pseudo_confidence: float | None = None,
) -> Callable[[Method, TrainState, Batch], tuple[TrainState, Metrics]]:
    """Build the outer minimisation of NaTra eq. 14: (method, state, batch) -> (state, metrics).

    A method without variations trains on the clean images alone. A method that perturbs features
    trains the head alone: its loss is the sum of that on images as above, with the clean BatchNorm,
    and that on the perturbed features, with the auxiliary one (AdvBN). The metrics are means over
    the batch and axis_name.

    Args:
        build_classifier: (axis_name) -> the classifier.
        optimizer: of the classifier's weights.
        axis_name: the axis of the devices; None on one device.
        clean_ratio: weight of the clean images' loss; the variations' has the rest.
        failures_only: let only those variations count that the classifier gets wrong (NaTra
            eq. 7); the others add nothing to the loss.
        pseudo_confidence: for data with unlabelled examples, whose labels are below 0 (NaTra
            section 4.2). They get the label that the classifier gives them, as it stands, and count
            wherever it is at least so sure (Sohn et al. 2020, FixMatch). None where all are
            labelled.

    Returns:
        The step.
    """
    classifier = build_classifier(axis_name)
    apply: Callable[..., Any] = classifier.apply

    def mean_over_devices(tree: T) -> T:
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    def logits_fn(
        variables: Variables, images: Float[Array, "B H W channels"]
    ) -> Float[Array, "B C"]:
        return apply(variables, images, train=False)

    def perturb(
        perturb_fn: Perturb,
        variables: Variables,
        keys: Keys,
        batch: Batch,
        variation: Variation | None,
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
        head_fn = Partial(cut.head, auxiliary_batch_norm.adversarial(variables))
        features, failed = perturb_fn(head_fn, keys, varied, targets, cut.relu)
        return _Perturbed(cut, plain, features, targets, failed)

    def forward(
        variables: Variables,
        batch: Batch,
        variation: Variation | None,
        perturbed: _Perturbed | None,
        rngs: dict[str, Array],
    ) -> _Outputs:
        """Run the classifier in training mode."""
        if perturbed is None:
            logits, updated = apply(
                variables, _images(batch, variation), train=True, mutable=["batch_stats"], rngs=rngs
            )
            return _Outputs(logits, None, updated.get("batch_stats", {}))
        train_head = perturbed.cut.train_head
        logits, clean_stats = train_head(
            auxiliary_batch_norm.clean(variables), perturbed.plain, rngs
        )
        adversarial, adversarial_stats = train_head(
            auxiliary_batch_norm.adversarial(variables), perturbed.features, rngs
        )
        batch_stats = auxiliary_batch_norm.with_stats(
            variables["batch_stats"], clean_stats, adversarial_stats
        )
        return _Outputs(logits, adversarial, batch_stats)

    def counted(batch: Batch, losses: Float[Array, " B"]) -> Float[Array, " B"]:
        return losses if pseudo_confidence is None else jnp.where(batch["counts"], losses, 0.0)

    def loss_fn(
        params: Params,
        batch_stats: Params,
        method: Method,
        batch: Batch,
        variation: Variation | None,
        perturbed: _Perturbed | None,
        rngs: dict[str, Array],
    ) -> tuple[Float[Array, ""], tuple[Params, Metrics]]:
        variables = {"params": params, "batch_stats": batch_stats}
        outputs = forward(variables, batch, variation, perturbed, rngs)
        clean, varied = jnp.split(outputs.logits, [len(batch["label"])])
        loss = counted(batch, cross_entropy(clean, batch["label"])).mean()
        metrics = {"accuracy": _accuracy(clean, batch)}
        if variation is not None:
            losses = method.loss(varied, variation.targets, batch["label"])
            if failures_only and variation.failed is not None:  # NaTra eq. 7
                losses = jnp.where(variation.failed, losses, 0.0)
            loss = clean_ratio * loss + (1 - clean_ratio) * counted(batch, losses).mean()
            metrics |= {name: value.mean() for name, value in variation.metrics.items()}
            if variation.failed is not None:
                metrics["attack_success"] = variation.failed.mean()
        if perturbed is not None and outputs.adversarial is not None:
            losses = cross_entropy(outputs.adversarial, perturbed.targets)
            loss += counted(batch, losses).mean()  # the sum: AdvBN's rates are published for it
            metrics["feature_attack_success"] = perturbed.failed.mean()
        return loss, (outputs.batch_stats, metrics | {"loss": loss})

    def step(method: Method, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        step_key = jax.random.fold_in(state.key, state.step)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(step_key, batch["index"])
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        variation, perturbed, kept = None, None, (state.epsilon, state.delta)
        if pseudo_confidence is not None:
            logits = logits_fn(auxiliary_batch_norm.clean(variables), batch["image"])
            batch = _pseudo_labelled(batch, logits, pseudo_confidence)
        if method.vary is not None:
            # the inner maximum of NaTra eq. 14
            frozen = Partial(logits_fn, auxiliary_batch_norm.clean(variables))
            epsilon, delta = jax.tree.map(lambda array: array[batch["index"]], kept)
            visited = batch if delta is None else batch | {"delta": delta}
            variation = jax.lax.stop_gradient(method.vary(frozen, keys, visited, epsilon))
            updated = (batch["index"], (variation.epsilon, variation.delta))
            if axis_name is not None:
                updated = jax.lax.all_gather(updated, axis_name, tiled=True)
            index, values = updated
            kept = jax.tree.map(
                lambda old, new: old.at[index].set(new.astype(old.dtype)), kept, values
            )
        if method.perturb is not None:
            perturbed = perturb(method.perturb, variables, keys, batch, variation)
        dropout_key = jax.random.fold_in(jax.random.fold_in(state.key, _DROPOUT), state.step)
        # what Flax falls back to for streams of any name
        rngs = {"params": _per_device(dropout_key, axis_name)}
        gradients, (batch_stats, metrics) = jax.grad(loss_fn, has_aux=True)(
            state.params, state.batch_stats, method, batch, variation, perturbed, rngs
        )
        gradients, batch_stats, metrics = mean_over_devices((gradients, batch_stats, metrics))
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        if perturbed is not None:
            # without a gradient, weight decay would still wear the trunk down
            params = perturbed.cut.keep_trunk(state.params, params)
        epsilon, delta = kept
        state = TrainState(
            state.step + 1, params, batch_stats, opt_state, epsilon, delta, state.key
        )
        return state, metrics

    return step


def _pseudo_labelled(batch: Batch, logits: Float[Array, "B C"], confidence: float) -> Batch:
    """Put the classifier's predictions in place of missing labels.

    The batch gains 'counts' [B], whether an example is trained on, and 'labelled' [B], whether its
    label is known.
    """
    labelled = batch["label"] >= 0
    sure = jax.nn.softmax(logits.astype(jnp.float32)).max(-1) >= confidence
    label = jnp.where(labelled, batch["label"], logits.argmax(-1).astype(batch["label"].dtype))
    return batch | {"label": label, "counts": labelled | sure, "labelled": labelled}


def _accuracy(logits: Float[Array, "B C"], batch: Batch) -> Float[Array, ""]:
    """Compute the accuracy on the labelled examples; 1 where there is none."""
    right = logits.argmax(-1) == batch["label"]
    if "labelled" not in batch:
        return right.mean()
    labelled = batch["labelled"]
    accuracy = (right & labelled).sum() / jnp.maximum(labelled.sum(), 1)
    return jnp.where(labelled.any(), accuracy, 1.0)


def _images(batch: Batch, variation: Variation | None) -> Float[Array, "images H W channels"]:
    """Return the clean images, with their variations behind them."""
    clean = batch["image"]
    if variation is None:
        return clean
    return jnp.concatenate([clean, variation.inputs.astype(clean.dtype)])


def _per_device(key: Array, axis_name: str | None) -> Array:
    return key if axis_name is None else jax.random.fold_in(key, jax.lax.axis_index(axis_name))
