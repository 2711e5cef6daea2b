"""Configurations of experiments: the table of fields, the files that hold values, and the checks.

    from natra_jax import config
    c = config.load(config.find("experiments/digits.py"))
    config.check_names(c)

`natra_jax.config.fields` is the table; `python -m natra_jax.main --help` prints it.
"""

from natra_jax.config.checks import nearest
from natra_jax.config.experiment import check_field, find, flatten, load, to_json
from natra_jax.config.validation import check_names, validate

__all__ = [
    "check_field",
    "check_names",
    "find",
    "flatten",
    "load",
    "nearest",
    "to_json",
    "validate",
]
