"""The classifiers of an experiment: how they are built, trained and read back. Shared by the stages that have one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
from etils import epath
from flax import linen as nn
from jax.tree_util import Partial

from natra_jax import classifiers
from natra_jax.training.fit import Schedule, load_state
from natra_jax.training.state import TrainState
from natra_jax.types import Bound


def builder(config, num_classes: int) -> Callable[[str | None], nn.Module]:
    """(axis_name) -> the experiment's classifier."""
    c = config.classifier
    return partial(classifiers.build, c.name, num_classes, widths=tuple(c.widths), norm=c.norm)


def schedule(config, steps: int | None = None) -> Schedule:
    """The experiment's training schedule, stretched to `steps` where given."""
    c = config.train
    return Schedule(
        steps=c.steps if steps is None else steps,
        batch_size=c.batch_size,
        learning_rate=c.learning_rate,
        weight_decay=c.weight_decay,
        clean_ratio=c.clean_ratio,
        checkpoint_every=c.checkpoint_every,
        log_every=c.log_every,
    )


def logits_fn(config, num_classes: int, state: TrainState) -> Callable[[jax.Array], jax.Array]:
    """images [B, H, W, C] -> logits [B, num_classes], with running BatchNorm statistics and the weights bound."""
    network = builder(config, num_classes)(None)
    return Partial(Bound(_apply, network), {"params": state.params, "batch_stats": state.batch_stats})


def load(config, num_classes: int, image_shape, num_examples: int, directory: epath.Path, steps: int | None = None) -> TrainState:
    """The state that a fit of the experiment's classifier left in directory."""
    return load_state(builder(config, num_classes), schedule(config, steps), image_shape, num_examples, directory)


def _apply(network: nn.Module, variables, images: jax.Array) -> jax.Array:
    return network.apply(variables, images, train=False)
