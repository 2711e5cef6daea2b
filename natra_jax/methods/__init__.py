"""Methods of training, by name, with what each needs.

To add one: a file of its own here with a `MethodSpec`, and its line in METHODS (see the README).
"""

from __future__ import annotations

from ml_collections import ConfigDict

from natra_jax.methods import advbn, adversarial, augment, mixing, natra, original, random
from natra_jax.methods.restrict_to_classes import restrict_to_classes
from natra_jax.methods.spec import Latent, MethodSpec
from natra_jax.types import Method

__all__ = ["METHODS", "Latent", "MethodSpec", "find", "restrict_to_classes"]


METHODS: dict[str, MethodSpec] = {
    "original": original.ORIGINAL,
    "augment": augment.AUGMENT,
    "adv": adversarial.ADV,
    "mixi": mixing.MIXI,
    "mixl": mixing.MIXL,
    "random": random.RANDOM,
    "random_box": random.RANDOM_BOX,
    "random_long": random.RANDOM_LONG,
    "corner": random.CORNER,
    "corner_long": random.CORNER_LONG,
    "randmix": mixing.RANDMIX,
    "advmix": mixing.ADVMIX,
    "natra_ol": natra.NATRA_OL,
    "natra_oa": natra.NATRA_OA,
    "natra_paper": natra.NATRA_PAPER,
    "natra": natra.NATRA,
    "advbn": advbn.ADVBN,
}


def find(name: str) -> MethodSpec:
    """Return the method of that name.

    'a+b' is a method a on images with a method b on the features of what a makes; it fine-tunes a's
    classifier.

    Raises:
        KeyError: the method is unknown.
        ValueError: the two do not combine.
    """
    if "+" not in name:
        return METHODS[name]
    images, features = name.split("+", 1)
    a, b = METHODS[images], METHODS[features]
    if a.perturbs or not b.perturbs:
        raise ValueError(
            f"{name!r}: the first method has to act on images and the second on features, "
            "such as natra+advbn"
        )

    def build(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
        on_images = a.build(config, num_classes, latent)
        return advbn.both(on_images, b.build(config, num_classes, latent))

    return a._replace(
        build=build,
        fields=(*a.fields, *b.fields),
        match_passes_of="",
        fine_tunes=images,
        perturbs=True,
    )
