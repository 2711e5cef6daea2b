"""Colour digits: a classifier that reads colour instead of shape, repaired. Nothing is downloaded.

python -m natra_jax.main --config=experiments/digits.py --workdir=runs/digits
"""

from ml_collections import ConfigDict

from natra_jax.experiments import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "digits"
    config.data.update(resolution=16, channels=3)
    # the weights that training from nothing, with weights="", ends in
    config.generator.update(weights="package:digits", resolution=16, channels_out=3, steps=8000)
    config.generator.adversarial.steps = 5000
    # What the user states here: neither colour nor light carries the label. They live in the layers
    # of the full resolution. The training labels are tied to both, so that no judge trained on them
    # could tell.
    config.screening.judge = "none"
    config.directions.update(layers=(4, 6), num=12)
    config.natra.update(rho=1.0, epsilon_max=4.0, smoothing=0.075)
    config.natra_paper.update(rho=1.0, smoothing=0.075)
    config.natra_oa.epsilon = 4.0
    config.eval.latent_epsilon = 4.0
    config.export.epsilon = 4.0
    config.advmix.layers = config.directions.layers
    # a mirrored digit is another sign
    config.augment.update(crop=2, flip=False, cutout=4)
    return config
