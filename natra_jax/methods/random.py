"""Random counterparts of NaTra: a draw of natural variation, but no search.

random       a draw from natra's own largest set (the same directions, radius cap and truncation),
             or N(0, 1) on all of the codes (NaTra section 4.1, "Random")
random_box   the former, whatever random is
corner       a random corner of that set
random_long  random, trained for as many network passes as natra
corner_long  corner, likewise
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from natra_jax import attacks
from natra_jax.attacks import Space
from natra_jax.attacks.search import inside, random_delta
from natra_jax.losses import soft_cross_entropy
from natra_jax.methods import natural
from natra_jax.methods.original import CLASSIFIER_STEP
from natra_jax.methods.spec import Latent, MethodSpec, required
from natra_jax.types import Batch, Generator, Keys, LogitsFn, Method, Params, Variation

KINDS = ("box", "corner", "normal_w")
_PASSES = 1 + 2 * CLASSIFIER_STEP


def random(
    space: Space,
    *,
    num_classes: int,
    epsilon: float,
    draw: str = "uniform",
    is_residual: bool = False,
) -> Method:
    """Build Random: a random point of the Space at radius epsilon, one-hot targets.

    Args:
        space: the set of natural variation.
        num_classes: C.
        epsilon: the radius, in the units of the Space's delta.
        draw: 'uniform' as the Space's `init` draws, or 'corner'.
        is_residual: whether the Space is `attacks.residual`'s.

    Returns:
        The method.
    """
    vary = Partial(_drawn(draw, num_classes, epsilon, is_residual), space)
    return Method(vary, _PASSES, soft_cross_entropy)


def random_normal(generator: Generator, params: Params, *, num_classes: int) -> Method:
    """Build Random as NaTra words it: N(0, 1) added to the codes, one-hot targets.

    Every coordinate of the codes is moved, but those of the class.
    """
    vary = Partial(_normal(generator, num_classes), params)
    return Method(vary, _PASSES, soft_cross_entropy)


@cache
def _drawn(
    draw: str, num_classes: int, radius: float, is_residual: bool
) -> Callable[..., Variation]:
    def vary(
        space: Space, logits_fn: LogitsFn, keys: Keys, batch: Batch, epsilon: Float[Array, " B"]
    ) -> Variation:
        radii = jnp.full_like(epsilon, radius)
        center = space.anchor(keys, natural.origin(batch, is_residual))
        delta = inside(space, random_delta(draw, keys, space, center, radii), center, radii)
        inputs = space.decode(center, delta)
        return _hard_labelled(inputs, num_classes, logits_fn, batch, epsilon)

    return vary


@cache
def _normal(generator: Generator, num_classes: int) -> Callable[..., Variation]:
    def vary(
        params: Params, logits_fn: LogitsFn, keys: Keys, batch: Batch, epsilon: Float[Array, " B"]
    ) -> Variation:
        codes = batch["codes"]
        noise = jax.vmap(lambda key: jax.random.normal(key, codes.shape[1:], codes.dtype))(keys)
        noise = noise.at[..., jnp.asarray(generator.class_entries, int)].set(0)
        inputs = generator.synthesize(params, codes + noise)
        return _hard_labelled(inputs, num_classes, logits_fn, batch, epsilon)

    return vary


def _hard_labelled(
    inputs: Float[Array, "B H W C"],
    num_classes: int,
    logits_fn: LogitsFn,
    batch: Batch,
    epsilon: Float[Array, " B"],
) -> Variation:
    failed = attacks.misclassified(logits_fn(inputs), batch["label"])
    return Variation(inputs, jax.nn.one_hot(batch["label"], num_classes), epsilon, failed)


# From an experiment's config


def _in_set(draw: str) -> Callable[[ConfigDict, int, Latent | None], Method]:
    def build(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
        return random(
            natural.training_space(config, required(latent)),
            num_classes=num_classes,
            epsilon=config.natra.epsilon_max,
            draw=draw,
            is_residual=config.natra.residual,
        )

    return build


def _of_kind(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
    kind = config.random.kind
    if kind == "normal_w":
        found = required(latent)
        return random_normal(found.generator, found.params, num_classes=num_classes)
    draw = "corner" if kind == "corner" else "uniform"
    return _in_set(draw)(config, num_classes, latent)


_SET_FIELDS = (*natural.TRAINING_SPACE_FIELDS, "natra.epsilon_max")
RANDOM = MethodSpec(_of_kind, fields=(*_SET_FIELDS, "random.kind"), latent="directions")
RANDOM_LONG = RANDOM._replace(match_passes_of="natra")
RANDOM_BOX = MethodSpec(_in_set("uniform"), fields=_SET_FIELDS, latent="directions")
CORNER = MethodSpec(_in_set("corner"), fields=_SET_FIELDS, latent="directions")
CORNER_LONG = CORNER._replace(match_passes_of="natra")
