"""A folder of your photos, one subfolder a class: people in another light, pose or mood.

python -m natra_jax.main --config=experiments/folder.py --workdir=runs/photos \\
    --config.data.path=PHOTOS

The classes may be whatever you like; docs/data.md says what PHOTOS may look like. Without a
generator of yours (--config.generator.weights=FILE, and data.channels=3 where photos are grey) one
is trained on the photos: a small one, of 32 pixels for fewer than 2,000 photos, 64 for fewer than
20,000, else 128. What may vary is sought in how photos of one class differ, so that it leaves the
class alone, and wants several photos a class.

For 400 grey portraits of 40 people, 92x112 pixels, it takes 13 minutes on two CPU cores: 4 for the
generator, 3 for encoder and codes. With more photos give the generator, the encoder and the
classifier more steps (generator.steps, encoder.steps, train.steps); at 64 pixels each costs about
four times as much, and an accelerator is worth while.
"""

from ml_collections import ConfigDict

from natra_jax.experiments import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "folder"
    config.data.name = "folder"
    # few images: mirrored ones are as good, and a discriminator must not learn them by heart
    config.generator.update(steps=3000, batch_size=32, kl_weight=0.02, augment=("flip",))
    config.generator.adversarial.update(
        steps=400, batch_size=16, augment=("color", "translation", "flip")
    )
    config.encoder.update(widths=(), steps=500, batch_size=32, gamma2=0.0)
    config.encode.refine_steps = 50
    # what varies among the images of one class leaves the label alone: the data show it, better
    # than a judge of so few images could
    config.directions.update(codes="within_classes", layers=(), num=8)
    config.screening.update(judge="none", confounded=1.0)
    config.advmix.layers = ()
    # the corners of a cube of eight directions would be far from any photo
    config.natra.update(
        num_steps=3, norm="l2", truncation=3.0, epsilon_max=2.5, rho=0.3, smoothing=0.075
    )
    config.natra_paper.update(num_steps=3, smoothing=0.075)
    config.natra_oa.epsilon = 2.5
    config.eval.latent_epsilon = 2.5
    config.export.epsilon = 2.5
    config.train.update(steps=800, batch_size=32)
    config.judge.update(seed=1000, steps=800)
    return config
