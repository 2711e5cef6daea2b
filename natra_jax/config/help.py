"""The table of fields as --help shows it."""

from __future__ import annotations

from collections.abc import Iterator

from ml_collections import ConfigDict

from natra_jax.config.experiment import flatten
from natra_jax.config.field import Field, by_name
from natra_jax.config.fields import FIELDS


def sections(config: ConfigDict) -> Iterator[list[tuple[str, str]]]:
    """Yield rows (name=value, what it means) of each section, with the values of config."""
    chosen = flatten(config)
    table = by_name(FIELDS)
    for section in dict.fromkeys(name.rpartition(".")[0] for name in table):
        yield [
            (f"{name}={_text(chosen.get(name, field.default))}", _meaning(field))
            for name, field in table.items()
            if name.rpartition(".")[0] == section
        ]


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _meaning(field: Field) -> str:
    words = "True | False" if isinstance(field.default, bool) else field.valid.words
    limits = "; ".join(part for part in (field.unit, words) if part)
    return f"{field.help} [{limits}]" if limits else field.help
