"""Methods that mix an example with others: mixup of pixels and of codes, AdvMix and RandMix.

mixi     mixup in pixels (Zhang et al. 2018; NaTra section 4.1, "MixI")
mixl     mixup of codes, decoded, with the same lambda for the labels (NaTra section 4.1, "MixL")
randmix  the style layers of the codes replaced by another's (Gowal et al. 2020, "RandMix")
advmix   the same, then the worst point of a small ball around these (Gowal et al. 2020, "AdvMix")
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from natra_jax import attacks
from natra_jax.attacks import Attack, Space
from natra_jax.losses import soft_cross_entropy
from natra_jax.methods.original import CLASSIFIER_STEP
from natra_jax.methods.spec import Latent, MethodSpec, required
from natra_jax.types import Batch, Generator, Keys, LogitsFn, Method, Params, Partners, Variation


def mixi(*, num_classes: int, alpha: float) -> Method:
    """Build MixI: lambda x + (1 - lambda) x', and the same of the labels.

    lambda ~ Beta(alpha, alpha) is drawn for each example.
    """
    return Method(
        Partial(_mixup("image", _undecoded, num_classes, alpha), None),
        passes=2 * CLASSIFIER_STEP,
        loss=soft_cross_entropy,
        partners=Partners(("image", "label"), 1),
    )


def mixl(generator: Generator, params: Params, *, num_classes: int, alpha: float) -> Method:
    """Build MixL: as mixi with codes in place of images, decoded."""
    return Method(
        Partial(_mixup("codes", generator.synthesize, num_classes, alpha), params),
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
    """Build AdvMix: the worst image that the search finds in a mixing Space, one-hot targets.

    Args:
        space: of `attacks.mixing`.
        search: the inner maximisation; `attacks.pgd(0)` makes RandMix.
        num_classes: C.
        epsilon: the radius, in raw code units.
        partners: Partners(('codes',), count) for a Space that mixes with other training examples.
        passes: the search's network passes.

    Returns:
        The method.
    """
    return Method(
        Partial(_advmix(search, num_classes, epsilon), space),
        passes=passes + 2 * CLASSIFIER_STEP,
        loss=soft_cross_entropy,
        partners=partners,
    )


@cache
def _mixup(
    array: str,
    decode: Callable[[Params, Array], Float[Array, "B H W C"]],
    num_classes: int,
    alpha: float,
) -> Callable[..., Variation]:
    def vary(
        params: Params, logits_fn: LogitsFn, keys: Keys, batch: Batch, epsilon: Float[Array, " B"]
    ) -> Variation:
        own, other = batch[array], batch[f"partner_{array}"][:, 0]
        share = jax.vmap(lambda key: jax.random.beta(key, alpha, alpha, dtype=own.dtype))(keys)
        mixed = _mix(share, own, other)
        labels, others = (
            jax.nn.one_hot(y, num_classes, dtype=own.dtype)
            for y in (batch["label"], batch["partner_label"][:, 0])
        )
        return Variation(decode(params, mixed), _mix(share, labels, others), epsilon)

    return vary


def _undecoded(params: Params, images: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
    return images


def _mix(
    share: Float[Array, " B"], a: Float[Array, "B ..."], b: Float[Array, "B ..."]
) -> Float[Array, "B ..."]:
    share = share.reshape(share.shape + (1,) * (a.ndim - 1))
    return share * a + (1 - share) * b


@cache
def _advmix(search: Attack, num_classes: int, radius: float) -> Callable[..., Variation]:
    def vary(
        space: Space, logits_fn: LogitsFn, keys: Keys, batch: Batch, epsilon: Float[Array, " B"]
    ) -> Variation:
        labels, origin = batch["label"], batch["codes"]
        if "partner_codes" in batch:
            origin = (origin, batch["partner_codes"])
        loss_fn = attacks.objective(logits_fn, labels)
        result = search(loss_fn, keys, space, origin, jnp.full_like(epsilon, radius))
        targets = jax.nn.one_hot(labels, num_classes)
        return Variation(result.inputs, targets, epsilon, result.success)

    return vary


# From an experiment's config


def _space(config: ConfigDict, latent: Latent) -> Space:
    first, stop = config.advmix.layers
    layers = np.arange(latent.generator.num_layers)
    replaced = (layers >= first) & (layers < stop)
    return attacks.mixing(latent.generator, latent.params, replaced, source=config.advmix.source)


def _partners(config: ConfigDict, restarts: int) -> Partners | None:
    return Partners(("codes",), restarts) if config.advmix.source == "other" else None


def _advmix_from(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
    c = config.advmix
    return advmix(
        _space(config, required(latent)),
        attacks.best_of(attacks.pgd(c.num_steps), c.restarts),
        num_classes=num_classes,
        epsilon=c.epsilon,
        partners=_partners(config, c.restarts),
        passes=c.restarts * (3 * c.num_steps + 1),
    )


def _randmix_from(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
    return advmix(
        _space(config, required(latent)),
        attacks.pgd(0),
        num_classes=num_classes,
        epsilon=0.0,
        partners=_partners(config, 1),
        passes=1,
    )


def _mixi_from(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
    return mixi(num_classes=num_classes, alpha=config.mixup.alpha)


def _mixl_from(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
    latent, alpha = required(latent), config.mixup.alpha
    return mixl(latent.generator, latent.params, num_classes=num_classes, alpha=alpha)


MIXI = MethodSpec(_mixi_from, fields=("mixup.alpha",))
MIXL = MethodSpec(_mixl_from, fields=("mixup.alpha",), latent="codes")
_SPACE_FIELDS = ("advmix.layers", "advmix.source")
RANDMIX = MethodSpec(_randmix_from, fields=_SPACE_FIELDS, latent="codes")
ADVMIX = MethodSpec(
    _advmix_from,
    fields=(*_SPACE_FIELDS, "advmix.epsilon", "advmix.num_steps", "advmix.restarts"),
    latent="codes",
)
