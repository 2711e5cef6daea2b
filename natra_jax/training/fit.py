"""Training a classifier by a method, to the last step and resumable.

The stages `train` and `judge` fit alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from etils import epath
from flax import linen as nn

from natra_jax.classifiers import auxiliary_batch_norm
from natra_jax.classifiers.advbn import Cut
from natra_jax.data.loader import PrefetchOptions, batches, labelled
from natra_jax.data.source import Images
from natra_jax.training import checkpoint, loop
from natra_jax.training.parallel import compile_step
from natra_jax.training.state import TrainState, init_state
from natra_jax.training.step import make_step
from natra_jax.types import Method, UserError


class Schedule(NamedTuple):
    """The length, the speed and the bookkeeping of a classifier's training."""

    steps: int
    batch_size: int
    optimizer: optax.GradientTransformation
    clean_ratio: float = 0.5
    failures_only: bool = False
    pseudo_confidence: float = 0.9
    """See `make_step`. It has no meaning where all examples are labelled."""
    checkpoint_every: int = 1000
    log_every: int = 100


def adamw(learning_rate: float, weight_decay: float, steps: int) -> optax.GradientTransformation:
    """Build AdamW, warmed up linearly over 1/15 of the steps, then a cosine to 0."""
    return optax.adamw(_warmed_up(learning_rate, steps), weight_decay=weight_decay)


def adam_without_momentum(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Build Adam as StyleGAN2 trains adversarially, on the schedule of adamw."""
    return optax.adam(_warmed_up(learning_rate, steps), b1=0.0, b2=0.99)


def _warmed_up(learning_rate: float, steps: int) -> optax.Schedule:
    warmup = max(1, steps // 15)
    return optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup, max(steps, warmup + 1))


def sgd(
    learning_rate: float, momentum: float, weight_decay: float, steps: int
) -> optax.GradientTransformation:
    """Build SGD with momentum and weight decay, as AdvBN fine-tunes.

    Args:
        learning_rate: of the first half of the steps; a tenth of it in the second.
        momentum: decay of the velocity.
        weight_decay: times the weights, added to the gradient.
        steps: the number of updates.
    """
    schedule = optax.piecewise_constant_schedule(learning_rate, {steps // 2: 0.1})
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(schedule, momentum))


def fit_classifier(
    build_classifier: Callable[[str | None], nn.Module],
    method: Method,
    arrays: Mapping[str, Images],
    schedule: Schedule,
    *,
    seed: int,
    directory: epath.Path,
    devices: Sequence[Any],
    parallel: str,
    name: str,
    log: Callable[[str], None],
    initial: Mapping[str, Any] | None = None,
    prefetch_options: PrefetchOptions = PrefetchOptions(),  # noqa: B008, it is a tuple
) -> tuple[TrainState, checkpoint.History]:
    """Train a classifier by a method.

    The same seed gives every method the same initial weights and the same order of the data.

    Args:
        build_classifier: (axis_name) -> the classifier.
        method: the work beside the clean batch.
        arrays: image [N, H, W, C], label [N], and codes [N, L, D] where the method needs them.
            Examples labelled below 0, which have no label, stand behind the others; the partners of
            an example are drawn among the labelled ones.
        schedule: how long and how fast.
        seed: of the initial weights, the order of the data and all randomness in training.
        directory: of the checkpoints. One that is there comes before any other start.
        devices: to train on.
        parallel: how, one of `parallel.MODES`.
        name: introduces the log's lines.
        log: takes them.
        initial: the variables {"params", "batch_stats"} to start from instead of fresh ones.
        prefetch_options: how batches are read ahead.

    Returns:
        The state after the last step, and the history.
    """
    optimizer = schedule.optimizer
    network, image_shape = build_classifier(None), arrays["image"].shape[1:]
    key, num_examples = jax.random.key(seed), len(arrays["label"])
    state = init_state(network, optimizer, image_shape, num_examples, key, method.kept)
    if initial is not None or method.perturb is not None:
        fresh = {"params": state.params, "batch_stats": state.batch_stats}
        variables = fresh if initial is None else jax.tree.map(jnp.asarray, dict(initial))
        if method.perturb is not None and not auxiliary_batch_norm.has_auxiliary(variables):
            variables = with_auxiliary(network, variables, image_shape)
        state = state._replace(**variables, opt_state=optimizer.init(variables["params"]))
    partners_of = labelled(arrays["label"][:])
    settings = {"clean_ratio": schedule.clean_ratio, "failures_only": schedule.failures_only}
    if partners_of < len(arrays["label"]):
        settings["pseudo_confidence"] = schedule.pseudo_confidence
    step = compile_step(
        lambda axis: make_step(build_classifier, optimizer, axis, **settings), devices, parallel
    )
    # without steps no batch is drawn, and none is too large
    batch_size = schedule.batch_size if schedule.steps else 1
    batch_at = batches(
        arrays,
        batch_size,
        seed,
        "train.batch_size",
        method.partners,
        partners_of=partners_of,
    )
    with checkpoint.Checkpoints(directory) as checkpoints:
        return loop.run(
            step,
            method,
            state,
            batch_at,
            schedule.steps,
            checkpoints=checkpoints,
            checkpoint_every=schedule.checkpoint_every,
            log_every=schedule.log_every,
            name=name,
            log=log,
            prefetch_options=prefetch_options,
            to_device=step.to_device,
        )


def with_auxiliary(
    network: nn.Module, variables: dict[str, Any], image_shape: tuple[int, ...]
) -> dict[str, Any]:
    """Add an auxiliary BatchNorm to every BatchNorm behind the network's AdvBN layer.

    Raises:
        UserError: there is not exactly one such layer.
    """
    try:
        cut = Cut.of(network, variables, (1, *image_shape))
    except ValueError as error:
        raise UserError(
            f"config field methods: for advbn {error}: add natra_jax.classifiers.AdvBN, "
            "or leave advbn out"
        ) from error
    return auxiliary_batch_norm.add_auxiliary(variables, cut.in_trunk)
