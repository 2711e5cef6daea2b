"""Task perceptual: the network V whose features NaTra eq. 9 and 10 compare.

encoder.perceptual names it. classifier: the stages of a classifier trained plainly on the task,
where no published network fits the domain. vgg16: relu1_2, relu2_2, relu3_3 and relu4_3 of VGG-16
with the weights in encoder.perceptual_weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
from etils import epath
from flax import linen as nn
from jax.tree_util import Partial

from natra_jax import json_files, trees
from natra_jax.classifiers import Vgg16
from natra_jax.json_files import Size
from natra_jax.latents.reconstruction import FeaturesFn
from natra_jax.stages import classifier, data, sizes
from natra_jax.stages.context import Config, Context
from natra_jax.stages.task import Plan, Task
from natra_jax.types import UserError
from natra_jax.weights import classifiers as foreign

NAME, _STAGE = "perceptual", "encoder"
_VGG16 = "vgg16"
_TAPS = 4  # of VGG-16's five, the finest
_PARAMS, _OPTIONS = "params.npz", "vgg16.json"


class _Options(TypedDict):
    """The content of vgg16.json."""

    widths: tuple[Size, Size, Size, Size, Size]  # channels of each block


def tasks(plan: Plan) -> list[Task]:
    """Declare the task perceptual, where a loss compares features."""
    if not (plan.has_generator and is_needed(plan.config)):
        return []
    choice = plan.fields("encoder.perceptual")
    if is_file(plan.config):
        fields = choice | plan.weights("encoder.perceptual_weights")
        return [Task(NAME, _STAGE, run, fields, checks=(check,))]
    network = classifier.named_fields(plan.config)
    fields = choice | classifier.schedule_fields(plan) | plan.fields(*network, "encoder.seed")
    return [Task(NAME, _STAGE, run, fields, (data.NAME,), sizes=sizes.plain_batch)]


def run(context: Context, directory: epath.Path) -> None:
    """Write the parameters of the network V into directory."""
    if is_file(context.config):
        _convert(context, directory)
        return
    config, arrays = context.config, data.split(context, "train")._asdict()
    build = classifier.named_builder(config, data.info(context).num_classes)
    schedule = classifier.plain_schedule(config)
    state = classifier.fit_plainly(
        context, build, arrays, schedule, seed=config.encoder.seed, directory=directory, name=NAME
    )
    trees.save(directory / _PARAMS, {"params": state.params, "batch_stats": state.batch_stats})


def is_needed(config: Config) -> bool:
    """Return whether any loss has a perceptual term."""
    return config.encoder.gamma2 > 0


def is_file(config: Config) -> bool:
    """Return whether the network is one of the user's."""
    return config.encoder.perceptual == _VGG16


def check(context: Context) -> None:
    """Raise UserError if the user's network cannot be read."""
    _read(context)


def load(context: Context) -> FeaturesFn | None:
    """Load V: images [B, H, W, C] -> the features of each layer, [B, ...].

    Returns None where no loss has the term.
    """
    if not is_needed(context.config):
        return None
    info, directory = data.info(context), context.workdir / NAME
    if is_file(context.config):
        network = _vgg16(directory)
        images = jax.ShapeDtypeStruct((1, *info.image_shape), jnp.float32)
        like = jax.eval_shape(partial(network.init, method="features"), jax.random.key(0), images)
    else:
        network = classifier.named_builder(context.config, info.num_classes)(None)
        like = classifier.variables_of(network, info.image_shape)
    return Partial(_features(network), jax.device_put(trees.load(directory / _PARAMS, like)))


def _convert(context: Context, directory: epath.Path) -> None:
    """Write the convolutions of the user's VGG-16, and its widths, into directory.

    The layers behind them are most of the weights, and give no features.
    """
    arguments, variables, _ = _read(context)
    convolutions = {
        name: layer for name, layer in variables["params"].items() if name.startswith("conv")
    }
    trees.save(directory / _PARAMS, {"params": convolutions})
    (directory / _OPTIONS).write_text(json.dumps(_Options(widths=arguments["widths"])))


def _read(context: Context) -> foreign.Converted:
    """Read the user's VGG-16; raise UserError if it has BatchNorm."""
    weights = context.config.encoder.perceptual_weights
    found = context.inputs.once(
        ("classifier", weights, _VGG16), lambda: foreign.load(weights, _VGG16)
    )
    if found.arguments["norm"] != "none":
        raise UserError(
            f"{weights}: is of a VGG-16 with BatchNorm: config field encoder.perceptual_weights "
            "takes vgg16-397923af.pth"
        )
    return found


def _vgg16(directory: epath.Path) -> Vgg16:
    """Build the VGG-16 of the widths that `_convert` wrote."""
    options = json_files.read(directory / _OPTIONS, _Options, f"run the task {NAME} again")
    return Vgg16(num_classes=1, widths=options["widths"])


@cache
def _features(network: nn.Module) -> Callable[[dict[str, Any], jax.Array], tuple[jax.Array, ...]]:
    taps = _TAPS if isinstance(network, Vgg16) else None

    def features(variables: dict[str, Any], images: jax.Array) -> tuple[jax.Array, ...]:
        layers: Any = network.apply(variables, images, method="features")
        # errors are added up in float32, whatever the network computes with
        return tuple(layer.astype(jnp.float32) for layer in layers[:taps])

    return features
