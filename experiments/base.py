"""Every field of an experiment at its default. Experiments start from these and change some.

    from natra_jax.experiments import base

    def get_config():
        config = base.get_config()
        config.name = "mine"
        config.data.update(name="folder", path="PHOTOS")
        return config

The fields, with what they mean, are in `natra_jax.config.fields`, and
`python -m natra_jax.main --help` prints them. This is no experiment of its own: data.name and the
numbers of layers depend on what is trained on what.
"""

from ml_collections import ConfigDict

from natra_jax.config.field import defaults
from natra_jax.config.fields import FIELDS


def get_config() -> ConfigDict:
    """Return the defaults of all fields, a fresh copy."""
    return ConfigDict(defaults(FIELDS))
