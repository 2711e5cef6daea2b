"""Colour digits by every method of the papers' tables, three seeds: like NaTra's Table 1.

python -m natra_jax.main --config=experiments/digits_all.py --workdir=runs/digits_all

The classifier has BatchNorm here, since AdvBN is about it. docs/results.md has what came out. The
thorough evaluation, on top of what is there: the same command with --config.eval.thorough=True.
"""

from ml_collections import ConfigDict

from natra_jax.experiments import digits


def get_config() -> ConfigDict:
    config = digits.get_config()
    config.name = "digits_all"
    config.seeds = (100, 101, 102)
    plain = ("original", "augment", "adv", "mixi", "mixl")
    latent = ("random", "random_long", "randmix", "advmix")
    features = ("advbn", "augment+advbn")
    config.methods = (*plain, *latent, *features, "natra_oa", "natra", "natra+advbn")
    config.classifier.norm = "batch"
    return config
