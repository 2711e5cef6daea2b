"""Training a classifier by a method, from fresh weights to the last step, resumable. The fits of `train` and of the judge are the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from etils import epath
from flax import linen as nn

from natra_jax.data import batches
from natra_jax.training import checkpoint, loop
from natra_jax.training.parallel import compile_step
from natra_jax.training.state import TrainState, init_state
from natra_jax.training.step import make_step
from natra_jax.types import Method


class Schedule(NamedTuple):
    """How long and how fast a classifier trains."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    clean_ratio: float = 0.5
    checkpoint_every: int = 1000
    log_every: int = 100


def adamw(learning_rate: float, weight_decay: float, steps: int) -> optax.GradientTransformation:
    """AdamW, warmed up linearly over 1/15 of the steps, then a cosine to 0."""
    warmup = max(1, steps // 15)
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup, max(steps, warmup + 1))
    return optax.adamw(schedule, weight_decay=weight_decay)


def fit_classifier(
    build_classifier: Callable[[str | None], nn.Module],
    method: Method,
    arrays: Mapping[str, np.ndarray],
    schedule: Schedule,
    *,
    seed: int,
    directory: epath.Path,
    devices: Sequence[Any],
    parallel: str,
    name: str,
    say: Callable[[str], None],
) -> tuple[TrainState, checkpoint.History]:
    """Trains on arrays (image, label, and codes where the method needs them) with checkpoints in directory -> (state, history).

    The same seed gives every method the same initial weights and the same order of the data.
    """
    optimizer = adamw(schedule.learning_rate, schedule.weight_decay, schedule.steps)
    fresh = partial(init_state, build_classifier(None), optimizer, arrays["image"].shape[1:], len(arrays["label"]))
    step = compile_step(lambda axis: make_step(build_classifier, optimizer, schedule.clean_ratio, axis), devices, parallel)
    with checkpoint.Checkpoints(directory) as checkpoints:
        return loop.run(
            step,
            method,
            fresh(jax.random.key(seed)),
            batches(arrays, schedule.batch_size, seed, "train.batch_size"),
            schedule.steps,
            checkpoints=checkpoints,
            checkpoint_every=schedule.checkpoint_every,
            log_every=schedule.log_every,
            name=name,
            say=say,
        )


def load_state(
    build_classifier: Callable[[str | None], nn.Module],
    schedule: Schedule,
    image_shape: tuple[int, ...],
    num_examples: int,
    directory: epath.Path,
) -> TrainState:
    """The last state of such a fit. Raises UserError if it is missing or damaged."""
    optimizer = adamw(schedule.learning_rate, schedule.weight_decay, schedule.steps)
    fresh = partial(init_state, build_classifier(None), optimizer, image_shape, num_examples)
    return checkpoint.load(directory, jax.eval_shape(fresh, jax.random.key(0)))
