"""What a training step trains on: every method by name, with what it needs.

To add one: a file of its own here with a `MethodSpec`, and its line in METHODS (the README shows it).
"""

from __future__ import annotations

from importlib import import_module

from natra_jax.methods.advbn import both
from natra_jax.methods.spec import Latent, MethodSpec
from natra_jax.methods.within import within

__all__ = ["METHODS", "Latent", "MethodSpec", "find", "within"]


def _spec(file: str, name: str) -> MethodSpec:
    return getattr(import_module(f"{__name__}.{file}"), name)


METHODS = {
    "original": _spec("plain", "ORIGINAL"),
    "augment": _spec("augment", "AUGMENT"),
    "adv": _spec("adversarial", "ADV"),
    "mixi": _spec("mixing", "MIXI"),
    "mixl": _spec("mixing", "MIXL"),
    "random": _spec("natra", "RANDOM"),
    "random_long": _spec("natra", "RANDOM_LONG"),
    "randmix": _spec("mixing", "RANDMIX"),
    "advmix": _spec("mixing", "ADVMIX"),
    "natra_ol": _spec("natra", "NATRA_OL"),
    "natra_oa": _spec("natra", "NATRA_OA"),
    "natra": _spec("natra", "NATRA"),
    "advbn": _spec("advbn", "ADVBN"),
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
        raise ValueError(f"{name!r}: the first method has to act on images and the second on features, such as natra+advbn")

    def build(config, num_classes, latent):
        return both(a.build(config, num_classes, latent), b.build(config, num_classes, latent))

    return a._replace(build=build, fields=(*a.fields, *b.fields), as_long_as="", fine_tunes=images, perturbs=True)
