"""Methods that mix an example with others: mixup of pixels and of codes, and AdvMix with its random twin.

mixi     mixup in pixels (Zhang et al. 2018; NaTra section 4.1, "MixI")
mixl     mixup of codes, decoded, with the same lambda for the labels (NaTra section 4.1, "MixL")
randmix  the style layers of the codes replaced by another's (Gowal et al. 2020, "RandMix")
advmix   the same, then the worst point of a small ball around these (Gowal et al. 2020, "AdvMix")
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from ml_collections import ConfigDict

from natra_jax import attacks
from natra_jax.attacks import Attack, Space
from natra_jax.losses import soft_cross_entropy
from natra_jax.methods.original import CLASSIFIER_STEP
from natra_jax.methods.spec import Latent, MethodSpec
from natra_jax.types import Generator, Method, Params, Partners, Variation


def mixi(*, num_classes: int, alpha: float) -> Method:
    """lambda x + (1 - lambda) x' with lambda ~ Beta(alpha, alpha), drawn for each example, and the same of the labels."""
    vary = Partial(partial(_mixup, "image", None, num_classes, alpha), None)
    return Method(
        vary,
        passes=2 * CLASSIFIER_STEP,
        loss=soft_cross_entropy,
        partners=Partners(("image", "label"), 1),
    )


def mixl(generator: Generator, params: Params, *, num_classes: int, alpha: float) -> Method:
    """As mixi with codes in place of images, decoded."""
    vary = Partial(partial(_mixup, "codes", generator.synthesize, num_classes, alpha), params)
    return Method(
        vary,
        passes=1 + 2 * CLASSIFIER_STEP,
        loss=soft_cross_entropy,
        partners=Partners(("codes", "label"), 1),
    )


def advmix(
    space: Space,
    search: Attack,
    *,
    num_classes: int,
    epsilon: float,
    partners: Partners | None,
    passes: int,
) -> Method:
    """The worst image that the search finds in a mixing Space at radius epsilon (raw code units), one-hot targets.

    partners: Partners(('codes',), count) for a Space that mixes with other training examples. passes: the search's network passes.
    """
    vary = Partial(partial(_advmix, search, num_classes, epsilon), space)
    return Method(
        vary, passes=passes + 2 * CLASSIFIER_STEP, loss=soft_cross_entropy, partners=partners
    )


def _mixup(what, synthesize, num_classes, alpha, params, logits_fn, keys, batch, epsilon):
    own, other = batch[what], batch[f"partner_{what}"][:, 0]
    share = jax.vmap(lambda key: jax.random.beta(key, alpha, alpha, dtype=own.dtype))(keys)
    mixed = _mix(share, own, other)
    labels, others = (
        jax.nn.one_hot(y, num_classes, dtype=own.dtype)
        for y in (batch["label"], batch["partner_label"][:, 0])
    )
    return Variation(
        synthesize(params, mixed) if synthesize else mixed, _mix(share, labels, others), epsilon
    )


def _mix(share, a, b):
    share = share.reshape(share.shape + (1,) * (a.ndim - 1))
    return share * a + (1 - share) * b


def _advmix(search, num_classes, radius, space, logits_fn, keys, batch, epsilon):
    labels = batch["label"]
    origin = (
        (batch["codes"], batch["partner_codes"]) if "partner_codes" in batch else batch["codes"]
    )
    result = search(
        attacks.objective(logits_fn, labels), keys, space, origin, jnp.full_like(epsilon, radius)
    )
    return Variation(result.inputs, jax.nn.one_hot(labels, num_classes), epsilon, result.success)


# From an experiment's config


def _space(config: ConfigDict, latent: Latent) -> Space:
    first, stop = config.advmix.layers
    layers = np.arange(latent.generator.num_layers)
    return attacks.mixing(
        latent.generator,
        latent.params,
        (layers >= first) & (layers < stop),
        source=config.advmix.source,
    )


def _partners(config: ConfigDict, restarts: int) -> Partners | None:
    return Partners(("codes",), restarts) if config.advmix.source == "other" else None


def _advmix_from(config: ConfigDict, num_classes: int, latent: Latent) -> Method:
    c = config.advmix
    search = attacks.best_of(attacks.pgd(c.num_steps), c.restarts)
    passes = c.restarts * (3 * c.num_steps + 1)
    return advmix(
        _space(config, latent),
        search,
        num_classes=num_classes,
        epsilon=c.epsilon,
        partners=_partners(config, c.restarts),
        passes=passes,
    )


def _randmix_from(config: ConfigDict, num_classes: int, latent: Latent) -> Method:
    settings = {"num_classes": num_classes, "epsilon": 0.0, "partners": _partners(config, 1)}
    return advmix(_space(config, latent), attacks.pgd(0), **settings, passes=1)


def _mixl_from(config: ConfigDict, num_classes: int, latent: Latent) -> Method:
    return mixl(latent.generator, latent.params, num_classes=num_classes, alpha=config.mixup.alpha)


MIXI = MethodSpec(
    lambda config, num_classes, latent: mixi(num_classes=num_classes, alpha=config.mixup.alpha),
    fields=("mixup",),
)
MIXL = MethodSpec(_mixl_from, fields=("mixup",), latent="codes")
RANDMIX = MethodSpec(_randmix_from, fields=("advmix",), latent="codes")
ADVMIX = MethodSpec(_advmix_from, fields=("advmix",), latent="codes")
