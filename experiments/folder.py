"""A folder of your photos, one subfolder a class.

python -m natra_jax.main --config=experiments/folder.py --workdir=runs/photos --config.data.path=PHOTOS
"""

from ml_collections import ConfigDict

from natra_jax.experiments import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "folder"
    config.data.name = "folder"
    config.generator.steps = 1500
    config.generator.adversarial.update(steps=300, batch_size=16, augment=("color", "translation"))
    config.encoder.update(steps=500, gamma2=0.0)
    config.directions.update(layers=(), codes="within_classes", num=10)
    config.advmix.layers = ()
    config.screening.update(confounded=1.0, multiples=(1.0, 2.0, 3.0))
    config.natra.update(truncation=3.0, epsilon_max=3.0, rho=0.5, smoothing=0.1, num_steps=3)
    config.natra_oa.epsilon = 3.0
    config.eval.latent_epsilon = 3.0
    config.train.update(steps=400, batch_size=32)
    config.judge.update(seed=1000, steps=400)
    return config
