"""A folder of your photos, one subfolder a class.

python -m natra_jax.main --config=experiments/folder.py --workdir=runs/photos --config.data.path=PHOTOS
"""

from ml_collections import ConfigDict

from natra_jax.experiments import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "folder"
    config.data.name = "folder"
    # few images: mirrored ones are as good, and a discriminator must not learn them by heart
    config.generator.update(steps=3000, batch_size=32, kl_weight=0.02, augment=("flip",))
    config.generator.adversarial.update(steps=400, batch_size=16, augment=("color", "translation", "flip"))
    config.encoder.update(widths=(), steps=500, batch_size=32, gamma2=0.0)
    config.encode.refine_steps = 50
    # what varies among the images of one class leaves the label alone: the data show it, better than a judge of so few images could
    config.directions.update(codes="within_classes", layers=(), num=8)
    config.screening.update(judge="none", confounded=1.0)
    config.advmix.layers = ()
    # the corners of a cube of eight directions would be far from any photo
    config.natra.update(num_steps=3, norm="l2", truncation=3.0, epsilon_max=2.5, rho=0.3, smoothing=0.075)
    config.natra_oa.epsilon = 2.5
    config.eval.latent_epsilon = 2.5
    config.export.epsilon = 2.5
    config.train.update(steps=800, batch_size=32)
    config.judge.update(seed=1000, steps=800)
    return config
