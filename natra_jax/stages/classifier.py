"""The classifiers of an experiment: how they are built, trained and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from etils import epath
from flax import linen as nn
from jax.tree_util import Partial
from ml_collections import ConfigDict

from natra_jax import classifiers, json_files, trees
from natra_jax.classifiers import auxiliary_batch_norm
from natra_jax.config.validation import check_classifier
from natra_jax.data import FITS, Images
from natra_jax.data.survey import source_of
from natra_jax.json_files import Size
from natra_jax.methods.original import original
from natra_jax.printable import shown
from natra_jax.stages import data
from natra_jax.stages.context import Config, Context
from natra_jax.stages.data import DatasetInfo
from natra_jax.stages.fit import prefetch_options
from natra_jax.stages.task import Plan
from natra_jax.training.fit import Schedule, adamw, fit_classifier, sgd, with_auxiliary
from natra_jax.training.state import TrainState
from natra_jax.types import LogitsFn, UserError

Builder = Callable[[str | None], nn.Module]  # (axis_name) -> a classifier
_WEIGHTS, _DESCRIPTION = "classifier.npz", "classifier.json"


class Trained(NamedTuple):
    """A classifier after its training."""

    variables: dict[str, Any]  # {"params", "batch_stats"}, the latter {} without BatchNorm
    epsilon: np.ndarray | None  # [N_examples], radii at the end of training; None for the judge


class Description(NamedTuple):
    """The description of a trained classifier, enough to build it again and show it an image."""

    classifier: dict[str, Any]  # fields of its config section
    classes: tuple[str, ...]  # names of the labels
    image_shape: tuple[Size, Size, Size]  # [H, W, C]
    fit: str  # of natra_jax.data.FITS: how photos were brought to that size; '' if they came so
    twins: bool  # whether it has auxiliary BatchNorm for adversarial images

    @property
    def num_classes(self) -> int:
        """The number of labels."""
        return len(self.classes)


def check(context: Context) -> None:
    """Raise UserError if the user's own classifier does not fit the data."""
    if context.config.classifier.factory:
        info = data.info(context)
        network = builder(context.config, info.num_classes)(None)
        classifiers.require_logits(network, info.image_shape, info.num_classes)


def builder(config: Config, num_classes: int) -> Builder:
    """Return (axis_name) -> the experiment's classifier, the user's own if there is one."""
    if config.classifier.factory:
        return _users_builder(config.classifier.factory, num_classes)
    return named_builder(config, num_classes)


def named_builder(config: Config, num_classes: int) -> Builder:
    """Return (axis_name) -> the classifier of classifier.name, which has a method features."""
    options = network_options(config) | {"dtype": config.classifier.dtype}
    return _named_builder(config.classifier.name, num_classes, tuple(options.items()))


@cache
def _users_builder(factory: str, num_classes: int) -> Builder:
    return lambda axis_name: classifiers.from_factory(factory, num_classes, axis_name)


@cache
def _named_builder(name: str, num_classes: int, options: tuple[tuple[str, Any], ...]) -> Builder:
    return lambda axis_name: classifiers.build(name, num_classes, axis_name, **dict(options))


def fields(plan: Plan) -> dict[str, Any]:
    """Return {config field: value} of the fields that describe the experiment's classifier."""
    factory = plan.fields("classifier.factory")
    if plan.config.classifier.factory:
        return factory | plan.source("classifier.factory")
    return factory | plan.fields(*named_fields(plan.config))


def schedule_fields(plan: Plan) -> dict[str, Any]:
    """Return {config field: value} of the fields that describe how a classifier is trained."""
    return plan.fields_without("train", "train.init_from", "train.log_every")


def fine_tuning_fields(plan: Plan) -> dict[str, Any]:
    """Return {config field: value} of the fields that `fine_tuning_schedule` reads."""
    own = [f"advbn.{name}" for name in ("steps", "learning_rate", "momentum", "weight_decay")]
    replaced = {f"train.{name}" for name in ("steps", "learning_rate", "weight_decay")}
    shared = {name: v for name, v in schedule_fields(plan).items() if name not in replaced}
    return plan.fields(*own) | shared


def named_fields(config: Config) -> tuple[str, ...]:
    """Return the names of the config fields that describe the classifier of classifier.name."""
    section, options = options_section(config), network_options(config)
    return ("classifier.name", "classifier.dtype", *(f"{section}.{name}" for name in options))


def options_section(config: Config) -> str:
    """Return the config section of the classifier's options; cnn's are beside its name."""
    name = config.classifier.name
    return "classifier" if name == "cnn" else f"classifier.{name}"


def network_options(config: Config) -> dict[str, Any]:
    """Return the fields of the module that classifier.name names, but for dtype."""
    c = config.classifier
    given = {"widths": c.widths, "norm": c.norm} if c.name == "cnn" else c[c.name].to_dict()
    # a section read from JSON has lists
    return {
        option: tuple(value) if isinstance(value, list | tuple) else value
        for option, value in given.items()
    }


def _description(config: Config) -> dict[str, Any]:
    """Return the fields of the section classifier that describe the classifier."""
    c = config.classifier
    if c.factory:
        return {"factory": c.factory}
    options = network_options(config)
    section = options if c.name == "cnn" else {c.name: options}
    return {"name": c.name, "dtype": c.dtype, "factory": ""} | section


def schedule(config: Config, steps: int | None = None) -> Schedule:
    """Return the experiment's training schedule, stretched to `steps` where given."""
    count = config.train.steps if steps is None else steps
    return _schedule(config, count, _adamw(config, count), config.train.log_every)


def plain_schedule(config: Config, steps: int | None = None) -> Schedule:
    """Return the schedule of a classifier that helps or judges (`fit_plainly`).

    Nothing is kept of the lines that it logs; they come with its checkpoints.
    """
    count = config.train.steps if steps is None else steps
    return _schedule(config, count, _adamw(config, count), config.train.checkpoint_every)


def _adamw(config: Config, steps: int) -> optax.GradientTransformation:
    return adamw(config.train.learning_rate, config.train.weight_decay, steps)


def fine_tuning_schedule(config: Config) -> Schedule:
    """Return the schedule of methods that perturb features (AdvBN)."""
    c = config.advbn
    optimizer = sgd(c.learning_rate, c.momentum, c.weight_decay, c.steps)
    return _schedule(config, c.steps, optimizer, config.train.log_every)


def _schedule(
    config: Config, steps: int, optimizer: optax.GradientTransformation, log_every: int
) -> Schedule:
    c = config.train
    return Schedule(
        steps=steps,
        batch_size=c.batch_size,
        optimizer=optimizer,
        clean_ratio=c.clean_ratio,
        failures_only=c.failures_only,
        pseudo_confidence=c.pseudo_confidence,
        checkpoint_every=c.checkpoint_every,
        log_every=log_every,
    )


def fit_plainly(
    context: Context,
    build: Builder,
    arrays: Mapping[str, Images],
    schedule: Schedule,
    *,
    seed: int,
    directory: epath.Path,
    name: str,
) -> TrainState:
    """Train a classifier that serves as a judge or as the perceptual network.

    It is trained on clean images alone, on one device, and can be resumed.

    Args:
      context: the run.
      build: (axis_name) -> the classifier.
      arrays: image [N, H, W, C] and label [N].
      schedule: of the training.
      seed: of the weights and of the order of batches.
      directory: of the task; checkpoints are kept in it.
      name: of the fit, in the lines of progress.

    Returns:
      The state after the last step.
    """
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
        log=context.log,
        prefetch_options=prefetch_options(context),
    )
    return state


def logits_fn(
    config: Config, num_classes: int, variables: dict[str, Any], *, adversarial: bool = False
) -> LogitsFn:
    """Bind weights to the experiment's classifier.

    Args:
      config: the experiment.
      num_classes: number of logits.
      variables: {"params", "batch_stats"} of the classifier.
      adversarial: use the auxiliary BatchNorm for adversarial inputs, where the classifier has it.

    Returns:
      A Partial of images [B, H, W, C] -> logits [B, num_classes], with running BatchNorm
      statistics.
    """
    network = builder(config, num_classes)(None)
    branch = auxiliary_batch_norm.adversarial if adversarial else auxiliary_batch_norm.clean
    return Partial(_logits(network), branch(variables))


@cache
def _logits(network: nn.Module) -> Callable[[dict[str, Any], jax.Array], jax.Array]:
    def logits(variables: dict[str, Any], images: jax.Array) -> jax.Array:
        answer: Any = network.apply(variables, images, train=False)
        return answer

    return logits


def variables_like(config: Config, info: DatasetInfo | Description) -> dict[str, Any]:
    """Return the shapes of the classifier's variables {"params", "batch_stats"}."""
    return variables_of(builder(config, info.num_classes)(None), info.image_shape)


def variables_of(network: nn.Module, image_shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the shapes of a network's variables {"params", "batch_stats"}.

    Args:
      network: any linen module that takes images and train.
      image_shape: [H, W, C].

    Returns:
      Trees of jax.ShapeDtypeStruct.
    """

    def init() -> Any:
        return network.init(jax.random.key(0), jnp.zeros((1, *image_shape)), train=False)

    variables = jax.eval_shape(init)
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def save(directory: epath.Path, config: Config, info: DatasetInfo, state: TrainState) -> None:
    """Write a trained classifier: classifier.npz, its variables, and classifier.json.

    Args:
      directory: of the task.
      config: the experiment.
      info: of the data.
      state: after the last step.
    """
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    trees.save(directory / _WEIGHTS, variables)
    description = Description(
        classifier=_description(config),
        classes=info.classes,
        image_shape=info.image_shape,
        fit=config.data.fit if source_of(config.data.name).scales else "",
        twins=auxiliary_batch_norm.has_auxiliary(variables),
    )
    (directory / _DESCRIPTION).write_text(json.dumps(description._asdict(), indent=1))


def load(directory: epath.Path, config: Config, info: DatasetInfo | Description) -> dict[str, Any]:
    """Load the variables that `save` wrote into directory.

    Raises UserError if they are missing, damaged, or of another classifier.
    """
    like = variables_like(config, info)
    if is_kept(directory) and describe(directory, config.classifier.factory)[1].twins:
        network = builder(config, info.num_classes)(None)
        like = jax.eval_shape(
            lambda variables: with_auxiliary(network, variables, info.image_shape), like
        )
    return trees.load(directory / _WEIGHTS, like)


def is_kept(directory: epath.Path) -> bool:
    """Return whether `save` has written a classifier into directory."""
    return (directory / _DESCRIPTION).exists()


def describe(directory: epath.Path, factory: str = "") -> tuple[ConfigDict, Description]:
    """Read the description that `save` wrote into directory.

    Args:
      directory: of the task.
      factory: 'module:function' of a classifier of the user's own, as the caller has it: a module
        is imported because the user names it, never because a file does. '' for one of ours.

    Returns:
      (a config with the section classifier alone, the description).

    Raises:
      UserError: if the description cannot be read, is of no classifier, or is of one that another
        function makes.
    """
    path, advice = directory / _DESCRIPTION, "run the stage train again"
    # names of classes are those of folders, which may not be in UTF-8
    description = json_files.read(path, Description, advice, loose=True)
    made_by = description.classifier.get("factory", "")
    if made_by and not factory:
        raise UserError(
            f"{path}: is of a classifier that the function {shown(made_by)} makes, whose module "
            "would be run: if you trust it, name it yourself, as --factory=MODULE:FUNCTION, or "
            "factory= in Python"
        )
    if made_by != factory:
        maker = f"the function {shown(made_by)}" if made_by else "natra_jax itself"
        raise UserError(
            f"{path}: is of a classifier that {maker} makes, and the factory that is given is "
            f"{factory!r}: " + ("name the same" if made_by else "leave it out")
        )
    # a classifier that was kept before there was a choice is float32
    section = {"dtype": "float32"} | description.classifier
    try:
        _require_sound(description, section)
    except UserError as error:
        raise UserError(f"{path}: {error}: {advice}") from error
    return ConfigDict({"classifier": section}), description


def _require_sound(description: Description, section: dict[str, Any]) -> None:
    """Raise UserError if the description is of no classifier.

    section: the config's section classifier, as JSON has it.
    """
    if not description.classes or description.fit not in ("", *FITS):
        raise UserError(f"has {len(description.classes)} classes, a fit {description.fit[:80]!r}")
    check_classifier(section)
    needed = {"factory"}
    if not section.get("factory"):
        name = str(section.get("name"))
        needed |= {"name", "dtype", *(("widths", "norm") if name == "cnn" else (name,))}
    if missing := sorted(needed - section.keys()):
        raise UserError(f"its classifier has no field {missing[0]}")
