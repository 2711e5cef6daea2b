"""The classifiers of an experiment: how they are built, trained, and kept. Shared by the stages that have one."""

from __future__ import annotations

import contextlib
import json
import zipfile
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
from natra_jax.classifiers import auxiliary_batch_norm
from natra_jax.data import scales
from natra_jax.methods.original import original
from natra_jax.stages.context import Context
from natra_jax.stages.data import DatasetInfo
from natra_jax.stages.fit import prefetch_options
from natra_jax.training import pretrained
from natra_jax.training.fit import Schedule, adamw, fit_classifier, sgd, with_auxiliary
from natra_jax.training.state import TrainState
from natra_jax.types import Bound, UserError
from natra_jax.weights import classifiers as foreign

_WEIGHTS, _DESCRIPTION = "classifier.npz", "classifier.json"
_LAST = "head"  # the name of the last layer in every network that others train too


class Trained(NamedTuple):
    """What a fit is kept for."""

    variables: dict[
        str, Any
    ]  # {"params": tree, "batch_stats": tree, {} for a classifier without BatchNorm}
    epsilon: (
        np.ndarray | None
    )  # [N_examples], the radii at the end of training; None for the judge, which has no use for them


class Description(NamedTuple):
    """What it takes to build a trained classifier again, and to show it an image: its config section, and what the data are."""

    classifier: dict[str, Any]
    classes: tuple[str, ...]  # names of the labels
    image_shape: tuple[int, int, int]  # [H, W, C]
    fit: str  # of natra_jax.data.FITS, by which photos of any size were brought to that; '' where they came so
    twins: bool  # whether its BatchNorm has adversarial twins

    @property
    def num_classes(self) -> int:
        return len(self.classes)


def builder(config, num_classes: int) -> Callable[[str | None], nn.Module]:
    """(axis_name) -> the experiment's classifier: the user's own where classifier.factory names one."""
    if config.classifier.factory:
        return Bound(classifiers.from_factory, config.classifier.factory, num_classes)
    return named_builder(config, num_classes)


def named_builder(config, num_classes: int) -> Callable[[str | None], nn.Module]:
    """(axis_name) -> the classifier of classifier.name, which has a method features."""
    options = _options(config) | {"dtype": config.classifier.dtype}
    return Bound(_named, config.classifier.name, num_classes, tuple(options.items()))


def fields(config) -> tuple[str, ...]:
    """The config fields that say what the classifier of classifier.name is."""
    section = _section(config)
    return (
        "classifier.name",
        "classifier.dtype",
        *(f"{section}.{option}" for option in _options(config)),
    )


def _section(config) -> str:
    """Where its options are in the config: cnn's are beside its name."""
    name = config.classifier.name
    return "classifier" if name == "cnn" else f"classifier.{name}"


def _options(config) -> dict[str, Any]:
    """The fields of the module that classifier.name names, but for how it is computed."""
    c = config.classifier
    given = {"widths": c.widths, "norm": c.norm} if c.name == "cnn" else c[c.name].to_dict()
    # what is read from JSON has lists
    return {
        option: tuple(value) if isinstance(value, list | tuple) else value
        for option, value in given.items()
    }


def schedule(config, steps: int | None = None) -> Schedule:
    """The experiment's training schedule, stretched to `steps` where given."""
    steps = config.train.steps if steps is None else steps
    return _schedule(
        config, steps, adamw(config.train.learning_rate, config.train.weight_decay, steps)
    )


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
        pseudo_confidence=c.pseudo_confidence,
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
        log=context.log,
        prefetch_options=prefetch_options(context),
    )
    return state


def logits_fn(
    config, num_classes: int, variables, *, adversarial: bool = False
) -> Callable[[jax.Array], jax.Array]:
    """images [B, H, W, C] -> logits [B, num_classes], with running BatchNorm statistics and the weights bound.

    adversarial: with the adversarial twins of a classifier's BatchNorm, where it has them.
    """
    network = builder(config, num_classes)(None)
    return Partial(
        Bound(_apply, network),
        auxiliary_batch_norm.adversarial(variables)
        if adversarial
        else auxiliary_batch_norm.clean(variables),
    )


def variables_like(config, info: DatasetInfo | Description) -> dict[str, Any]:
    """The shapes and types of the classifier's variables {"params", "batch_stats"}, as jax.ShapeDtypeStructs."""
    return variables_of(builder(config, info.num_classes)(None), info.image_shape)


def variables_of(network: nn.Module, image_shape: tuple[int, ...]) -> dict[str, Any]:
    """The shapes and types of a network's variables {"params", "batch_stats"}, for images [H, W, C]."""
    variables = jax.eval_shape(
        lambda: network.init(jax.random.key(0), jnp.zeros((1, *image_shape)), train=False)
    )
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def save(directory: epath.Path, config, info: DatasetInfo, state: TrainState) -> None:
    """Keeps what was trained: classifier.npz, the variables, and classifier.json, what they are the variables of."""
    trees.save(directory / _WEIGHTS, {"params": state.params, "batch_stats": state.batch_stats})
    twins = auxiliary_batch_norm.has_auxiliary(
        {"params": state.params, "batch_stats": state.batch_stats}
    )
    fit = config.data.fit if scales(config.data.name) else ""
    description = Description(
        config.classifier.to_dict(), info.classes, info.image_shape, fit, twins
    )
    (directory / _DESCRIPTION).write_text(json.dumps(description._asdict(), indent=1))


def load(directory: epath.Path, config, info: DatasetInfo | Description) -> dict[str, Any]:
    """The variables that `save` kept in directory. Raises UserError if they are missing, damaged, or of another classifier."""
    like = variables_like(config, info)
    if is_kept(directory) and describe(directory)[1].twins:
        network = builder(config, info.num_classes)(None)
        like = jax.eval_shape(
            lambda variables: with_auxiliary(network, variables, info.image_shape), like
        )
    return trees.load(directory / _WEIGHTS, like)


def read_weights(config, info: DatasetInfo | Description, path: str) -> dict[str, Any]:
    """The classifier's variables in the user's .npz file, in a directory that orbax wrote, or for a classifier that others train too in a
    file of theirs, then perhaps with adversarial twins. Raises UserError if they do not fit the classifier.
    """
    where = epath.Path(path).expanduser()
    if not _is_foreign(config, where):
        like = variables_like(config, info)
        return pretrained.read(where, like) if where.is_dir() else trees.load(where, like)
    found = _read_foreign(config, where)
    if found.arguments["num_classes"] != info.num_classes:
        raise UserError(
            f"{where}: tells {found.arguments['num_classes']} classes apart, the data have {info.num_classes}"
        )
    return found.params


def first_weights(
    config, info: DatasetInfo | Description, path: str, seed: int
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """As `read_weights`, to train on from -> (variables, what the user should know of them, a line each).

    Where a file of others is of another number of classes, the last layer is a fresh one.
    """
    where = epath.Path(path).expanduser()
    if not _is_foreign(config, where):
        return read_weights(config, info, path), ()
    arguments, variables, notes = _read_foreign(config, where)
    params, classes = variables["params"], arguments["num_classes"]
    if classes == info.num_classes:
        return variables, notes
    inputs = params[_LAST]["kernel"].shape[0]
    last = nn.Dense(info.num_classes).init(jax.random.key(seed), jnp.zeros((1, inputs)))["params"]
    fresh = f"the last layer is fresh, for {info.num_classes} classes in place of {classes}"
    return variables | {"params": params | {_LAST: last}}, (*notes, fresh)


def _is_foreign(config, path: epath.Path) -> bool:
    """Whether the classifier's variables at path are as others keep them. Ours are an .npz of arrays under 'params/'."""
    if (
        config.classifier.factory
        or config.classifier.name not in foreign.CLASSIFIERS
        or not path.is_file()
    ):
        return False
    # of what is no archive, or a damaged one, the reader says what is wrong
    with contextlib.suppress(Exception), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        return not any(
            name.startswith("params/") and name.endswith(".npy") for name in archive.namelist()
        )
    return True


def _read_foreign(config, path: epath.Path) -> foreign.Converted:
    found = foreign.load(path, config.classifier.name)
    for option, value in _options(config).items():
        if (theirs := found.arguments[option]) != value:
            raise UserError(
                f"{path}: is of a network with {option} {theirs}: set config field {_section(config)}.{option} to that"
            )
    return found


def is_kept(directory: epath.Path) -> bool:
    """Whether `save` has kept a classifier there."""
    return (directory / _DESCRIPTION).exists()


def describe(directory: epath.Path) -> tuple[ConfigDict, Description]:
    """(a config with the section classifier alone, description) of what is kept in directory. Raises UserError if it is damaged."""
    path = directory / _DESCRIPTION
    try:
        read = json.loads(path.read_text())
        classes, image_shape = tuple(read["classes"]), tuple(read["image_shape"])
        description = Description(
            read["classifier"], classes, image_shape, read["fit"], read["twins"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}): run the stage train again") from error
    # what was kept before there was a choice is float32
    return ConfigDict({"classifier": {"dtype": "float32"} | description.classifier}), description


def _named(
    name: str, num_classes: int, options: tuple[tuple[str, Any], ...], axis_name: str | None
) -> nn.Module:
    return classifiers.build(name, num_classes, axis_name, **dict(options))


def _apply(network: nn.Module, variables, images: jax.Array) -> jax.Array:
    return network.apply(variables, images, train=False)
