"""The classifiers of an experiment: how they are built, trained, and kept. Shared by the stages that have one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from etils import epath
from flax import linen as nn
from jax.tree_util import Partial
from ml_collections import ConfigDict

from natra_jax import classifiers, trees
from natra_jax.classifiers import dual
from natra_jax.methods.plain import original
from natra_jax.stages.context import Context
from natra_jax.stages.data import Facts
from natra_jax.training import pretrained
from natra_jax.training.fit import Schedule, adamw, fit_classifier, sgd, twinned
from natra_jax.training.state import TrainState
from natra_jax.types import Bound, UserError

_WEIGHTS, _DESCRIPTION = "classifier.npz", "classifier.json"


class Trained(NamedTuple):
    """What a fit is kept for."""

    variables: dict[str, Any]  # {"params": tree, "batch_stats": tree, {} for a classifier without BatchNorm}
    epsilon: np.ndarray | None  # [N_examples], the radii at the end of training; None for the judge, which has no use for them


class Description(NamedTuple):
    """What it takes to build a trained classifier again: its config section and the data's shape."""

    classifier: dict[str, Any]
    num_classes: int
    image_shape: tuple[int, int, int]  # [H, W, C]
    twins: bool  # whether its BatchNorm has adversarial twins


def builder(config, num_classes: int) -> Callable[[str | None], nn.Module]:
    """(axis_name) -> the experiment's classifier: the user's own where classifier.factory names one."""
    if config.classifier.factory:
        return Bound(classifiers.from_factory, config.classifier.factory, num_classes)
    return named_builder(config, num_classes)


def named_builder(config, num_classes: int) -> Callable[[str | None], nn.Module]:
    """(axis_name) -> the classifier of classifier.name, which has a method features."""
    c = config.classifier
    return Bound(_named, c.name, num_classes, tuple(c.widths), c.norm)


def schedule(config, steps: int | None = None) -> Schedule:
    """The experiment's training schedule, stretched to `steps` where given."""
    steps = config.train.steps if steps is None else steps
    return _schedule(config, steps, adamw(config.train.learning_rate, config.train.weight_decay, steps))


def fine_tuning_schedule(config) -> Schedule:
    """The schedule of methods that perturb features."""
    c = config.advbn
    return _schedule(config, c.steps, sgd(c.learning_rate, c.momentum, c.weight_decay, c.steps))


def _schedule(config, steps: int, optimizer: optax.GradientTransformation) -> Schedule:
    c = config.train
    return Schedule(
        steps=steps,
        batch_size=c.batch_size,
        optimizer=optimizer,
        clean_ratio=c.clean_ratio,
        failures_only=c.failures_only,
        checkpoint_every=c.checkpoint_every,
        log_every=c.log_every,
    )


def fit_plainly(
    context: Context,
    build: Callable[[str | None], nn.Module],
    arrays: Mapping[str, np.ndarray],
    schedule: Schedule,
    *,
    seed: int,
    directory: epath.Path,
    name: str,
) -> TrainState:
    """A classifier that helps or judges and is compared with none: trained on arrays (image, label) alone, on one device, resumable."""
    state, _ = fit_classifier(
        build,
        original(),
        arrays,
        schedule,
        seed=seed,
        directory=directory / "checkpoints",
        devices=context.devices[:1],
        parallel="auto",
        name=name,
        say=context.say,
    )
    return state


def logits_fn(config, num_classes: int, variables, *, adversarial: bool = False) -> Callable[[jax.Array], jax.Array]:
    """images [B, H, W, C] -> logits [B, num_classes], with running BatchNorm statistics and the weights bound.

    adversarial: with the adversarial twins of a classifier's BatchNorm, where it has them.
    """
    network = builder(config, num_classes)(None)
    return Partial(Bound(_apply, network), dual.adversarial(variables) if adversarial else dual.clean(variables))


def variables_like(config, facts: Facts | Description) -> dict[str, Any]:
    """The shapes and types of the classifier's variables {"params", "batch_stats"}, as jax.ShapeDtypeStructs."""
    return variables_of(builder(config, facts.num_classes)(None), facts.image_shape)


def variables_of(network: nn.Module, image_shape: tuple[int, ...]) -> dict[str, Any]:
    """The shapes and types of a network's variables {"params", "batch_stats"}, for images [H, W, C]."""
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, *image_shape)), train=False))
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def save(directory: epath.Path, config, facts: Facts, state: TrainState) -> None:
    """Keeps what was trained: classifier.npz, the variables, and classifier.json, what they are the variables of."""
    trees.save(directory / _WEIGHTS, {"params": state.params, "batch_stats": state.batch_stats})
    twins = dual.has_twins({"params": state.params, "batch_stats": state.batch_stats})
    description = Description(config.classifier.to_dict(), facts.num_classes, facts.image_shape, twins)
    (directory / _DESCRIPTION).write_text(json.dumps(description._asdict(), indent=1))


def load(directory: epath.Path, config, facts: Facts | Description) -> dict[str, Any]:
    """The variables that `save` kept in directory. Raises UserError if they are missing, damaged, or of another classifier."""
    like = variables_like(config, facts)
    if is_kept(directory) and describe(directory)[1].twins:
        network = builder(config, facts.num_classes)(None)
        like = jax.eval_shape(lambda variables: twinned(network, variables, facts.image_shape), like)
    return trees.load(directory / _WEIGHTS, like)


def read_weights(config, facts: Facts | Description, path: str) -> dict[str, Any]:
    """The classifier's variables in the user's .npz file, or in a directory that orbax wrote. Raises UserError if they do not fit it."""
    like, where = variables_like(config, facts), epath.Path(path).expanduser()
    return pretrained.read(where, like) if where.is_dir() else trees.load(where, like)


def is_kept(directory: epath.Path) -> bool:
    """Whether `save` has kept a classifier there."""
    return (directory / _DESCRIPTION).exists()


def describe(directory: epath.Path) -> tuple[ConfigDict, Description]:
    """(a config with the section classifier alone, description) of what is kept in directory. Raises UserError if it is damaged."""
    path = directory / _DESCRIPTION
    try:
        read = json.loads(path.read_text())
        description = Description(read["classifier"], read["num_classes"], tuple(read["image_shape"]), read["twins"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}): run the stage train again") from error
    return ConfigDict({"classifier": description.classifier}), description


def _named(name: str, num_classes: int, widths: tuple[int, ...], norm: str, axis_name: str | None) -> nn.Module:
    return classifiers.build(name, num_classes, axis_name, widths=widths, norm=norm)


def _apply(network: nn.Module, variables, images: jax.Array) -> jax.Array:
    return network.apply(variables, images, train=False)
