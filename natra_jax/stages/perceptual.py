"""Piece perceptual: the network V whose features eq. 9 and 10 compare, by the name in encoder.perceptual.

classifier: the stages of a classifier trained plainly on the task, where no published network fits the domain.
"""

from __future__ import annotations

import jax
from etils import epath
from jax.tree_util import Partial

from natra_jax import trees
from natra_jax.latents.reconstruction import FeaturesFn
from natra_jax.stages import classifier, data
from natra_jax.stages.context import Context
from natra_jax.types import Bound

NAME = "perceptual"


def run(context: Context, directory: epath.Path) -> None:
    config, arrays = context.config, data.split(context, "train")._asdict()
    build, schedule = classifier.named_builder(config, data.facts(context).num_classes), classifier.schedule(config)
    state = classifier.fit_plainly(context, build, arrays, schedule, seed=config.encoder.seed, directory=directory, name=NAME)
    trees.save(directory / "params.npz", {"params": state.params, "batch_stats": state.batch_stats})


def is_needed(config) -> bool:
    """Whether any loss has a perceptual term."""
    return config.encoder.gamma2 > 0


def load(context: Context) -> FeaturesFn | None:
    """images [B, H, W, C] -> the features of each layer of V, [B, ...]; None where no loss has the term."""
    if not is_needed(context.config):
        return None
    facts = data.facts(context)
    network = classifier.named_builder(context.config, facts.num_classes)(None)
    like = classifier.variables_of(network, facts.image_shape)
    return Partial(Bound(_features, network), jax.device_put(trees.load(context.workdir / NAME / "params.npz", like)))


def _features(network, variables, images):
    return network.apply(variables, images, method="features")
