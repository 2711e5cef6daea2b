"""Piece perceptual: the network V whose features eq. 9 and 10 compare, by the name in encoder.perceptual.

classifier: the stages of a classifier trained plainly on the task, where no published network fits the domain. vgg16: relu1_2, relu2_2,
relu3_3 and relu4_3 of VGG-16 with the weights in encoder.perceptual_weights.
"""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
from etils import epath
from jax.tree_util import Partial

from natra_jax import trees
from natra_jax.classifiers import Vgg16
from natra_jax.latents.reconstruction import FeaturesFn
from natra_jax.stages import classifier, data
from natra_jax.stages.context import Context
from natra_jax.types import Bound, UserError
from natra_jax.weights import classifiers as foreign

NAME = "perceptual"
_VGG16 = "vgg16"
_TAPS = 4  # of VGG-16's five, the finest
_PARAMS, _OPTIONS = "params.npz", "vgg16.json"


def run(context: Context, directory: epath.Path) -> None:
    if is_file(context.config):
        _convert(context.config.encoder.perceptual_weights, directory)
        return
    config, arrays = context.config, data.split(context, "train")._asdict()
    build, schedule = (
        classifier.named_builder(config, data.info(context).num_classes),
        classifier.schedule(config),
    )
    state = classifier.fit_plainly(
        context, build, arrays, schedule, seed=config.encoder.seed, directory=directory, name=NAME
    )
    trees.save(directory / _PARAMS, {"params": state.params, "batch_stats": state.batch_stats})


def is_needed(config) -> bool:
    """Whether any loss has a perceptual term."""
    return config.encoder.gamma2 > 0


def is_file(config) -> bool:
    """Whether the network is one of the user's."""
    return config.encoder.perceptual == _VGG16


def check(context: Context) -> None:
    """Raises UserError, before any time is spent on what comes before it, if the user's network cannot be read."""
    if is_needed(context.config) and is_file(context.config):
        _read(context.config.encoder.perceptual_weights)


def load(context: Context) -> FeaturesFn | None:
    """images [B, H, W, C] -> the features of each layer of V, [B, ...]; None where no loss has the term."""
    if not is_needed(context.config):
        return None
    info, directory = data.info(context), context.workdir / NAME
    if is_file(context.config):
        network = _vgg16(directory)
        like = jax.eval_shape(
            lambda: network.init(
                jax.random.key(0), jnp.zeros((1, *info.image_shape)), method="features"
            )
        )
    else:
        network = classifier.named_builder(context.config, info.num_classes)(None)
        like = classifier.variables_of(network, info.image_shape)
    return Partial(Bound(_features, network), jax.device_put(trees.load(directory / _PARAMS, like)))


def _convert(weights: str, directory: epath.Path) -> None:
    """Keeps the convolutions: what is behind them is most of the weights, and gives no features."""
    arguments, variables, _ = _read(weights)
    convolutions = {
        name: layer for name, layer in variables["params"].items() if name.startswith("conv")
    }
    trees.save(directory / _PARAMS, {"params": convolutions})
    (directory / _OPTIONS).write_text(json.dumps({"widths": arguments["widths"]}))


def _read(weights: str) -> foreign.Converted:
    found = foreign.load(weights, _VGG16)
    if found.arguments["norm"] != "none":
        raise UserError(
            f"{weights}: is of a VGG-16 with BatchNorm: config field encoder.perceptual_weights takes vgg16-397923af.pth"
        )
    return found


def _vgg16(directory: epath.Path) -> Vgg16:
    path = directory / _OPTIONS
    try:
        return Vgg16(num_classes=1, widths=tuple(json.loads(path.read_text())["widths"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}): delete {directory} and run again"
        ) from error


def _features(network, variables, images):
    features = network.apply(variables, images, method="features")
    # errors are added up in float32, whatever the network computes with
    return tuple(
        f.astype(jnp.float32)
        for f in (features[:_TAPS] if isinstance(network, Vgg16) else features)
    )
