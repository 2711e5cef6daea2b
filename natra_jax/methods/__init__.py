"""What a training step trains on: every method by name, with what it needs.

To add one: a file of its own here with a `MethodSpec`, and its line in METHODS (the README shows it).
"""

from __future__ import annotations

from natra_jax.methods import advbn, adversarial, augment, mixing, natra, original
from natra_jax.methods.restrict_to_classes import restrict_to_classes
from natra_jax.methods.spec import Latent, MethodSpec

__all__ = ["METHODS", "Latent", "MethodSpec", "find", "restrict_to_classes"]


METHODS: dict[str, MethodSpec] = {
    "original": original.ORIGINAL,
    "augment": augment.AUGMENT,
    "adv": adversarial.ADV,
    "mixi": mixing.MIXI,
    "mixl": mixing.MIXL,
    "random": natra.RANDOM,
    "random_long": natra.RANDOM_LONG,
    "randmix": mixing.RANDMIX,
    "advmix": mixing.ADVMIX,
    "natra_ol": natra.NATRA_OL,
    "natra_oa": natra.NATRA_OA,
    "natra": natra.NATRA,
    "advbn": advbn.ADVBN,
}


def find(name: str) -> MethodSpec:
    """The method of that name; 'a+b' for a method a on images with a method b on features of what a makes, fine-tuning a's classifier.

    Raises KeyError for an unknown method, ValueError for two that do not combine.
    """
    if "+" not in name:
        return METHODS[name]
    images, features = name.split("+", 1)
    a, b = METHODS[images], METHODS[features]
    if a.perturbs or not b.perturbs:
        raise ValueError(
            f"{name!r}: the first method has to act on images and the second on features, such as natra+advbn"
        )

    def build(config, num_classes, latent):
        return advbn.both(
            a.build(config, num_classes, latent), b.build(config, num_classes, latent)
        )

    return a._replace(
        build=build,
        fields=(*a.fields, *b.fields),
        match_passes_of="",
        fine_tunes=images,
        perturbs=True,
    )
