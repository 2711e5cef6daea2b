"""Every stage of the digits' path in about a minute, for tests: numbers too small to mean anything.

python -m natra_jax.main --config=experiments/smoke.py --workdir=runs/smoke
"""

from ml_collections import ConfigDict

from natra_jax.experiments import digits


def get_config() -> ConfigDict:
    config = digits.get_config()
    config.name = "smoke"
    config.generator.update(weights="", steps=20, base_channels=8, max_channels=16, code_dim=16)
    config.generator.adversarial.steps = 0
    config.encoder.update(steps=20, widths=(8, 16, 16), hidden=32, gamma2=0.1)
    config.data.update(renderings=2, wild_per_image=2)
    config.directions.update(num_codes=300, num=4, dim=6)
    config.screening.update(examples=30, multiples=(1.0, 2.0))
    config.natra.num_steps = 2
    config.classifier.widths = (8, 16, 16)
    config.train.update(steps=20, checkpoint_every=10, log_every=5)
    config.judge.steps = 20
    config.eval.update(latent_steps=2)
    config.report.examples = 3
    return config
