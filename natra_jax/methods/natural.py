"""The Space of natural variation of an experiment, and the searches in it, from its config.

Training, evaluation, the report's figures and the export all search by these.
"""

from __future__ import annotations

from jaxtyping import PyTree
from ml_collections import ConfigDict

from natra_jax import attacks
from natra_jax.attacks import Attack, Space
from natra_jax.attacks.pgd import RULES as _RULES
from natra_jax.attacks.search import DRAWS
from natra_jax.methods.spec import Latent
from natra_jax.types import Batch

STARTS = ("encoded", *DRAWS, "persistent")
RULES = ("steepest", *_RULES)
SEARCHES = ("joint", "per_direction")
# the config fields that these read
SPACE_FIELDS = ("natra.truncation", "natra.norm", "natra.units")
TRAINING_SPACE_FIELDS = (*SPACE_FIELDS, "natra.residual")
SEARCH_FIELDS = tuple(
    f"natra.{name}"
    for name in ("num_steps", "step_size", "rule", "start", "draw", "restarts", "search", "norm")
)


def space(config: ConfigDict, latent: Latent) -> Space:
    """Build the Space that natra trains on and latent_accuracy attacks in."""
    c = config.natra
    return attacks.directions(
        latent.generator,
        latent.params,
        latent.required_directions(),
        truncation=c.truncation,
        norm=c.norm,
        units=c.units,
    )


def training_space(config: ConfigDict, latent: Latent) -> Space:
    """Build the Space that methods train on: `space`, or its residual where natra.residual says.

    The origin is codes, or (codes, images) for the residual.
    """
    found = space(config, latent)
    return attacks.residual(found) if config.natra.residual else found


def origin(batch: Batch, is_residual: bool) -> PyTree:
    """Return what a search in `training_space` starts from, for a batch."""
    return (batch["codes"], batch["image"]) if is_residual else batch["codes"]


def search(norm: str, num_steps: int, restarts: int) -> Attack:
    """Build the search that classifiers are measured by, whatever they were trained on.

    It is PGD (NaTra eq. 6) from the encoded point, then from random ones, by the norm's own steps.
    Equal settings give the same function, so that it is compiled once.
    """
    return attacks.best_of(attacks.pgd(num_steps, rule=_steepest(norm)), restarts)


def training_search(config: ConfigDict, latent: Latent) -> tuple[Attack, int]:
    """Build natra's own search, and count its network passes."""
    c = config.natra
    found = attacks.pgd(
        c.num_steps,
        c.step_size or None,
        rule=_steepest(c.norm) if c.rule == "steepest" else c.rule,
        random_start=c.start in DRAWS,
        draw=c.start if c.start in DRAWS else c.draw,
    )
    passes = c.restarts * (3 * c.num_steps + 1)
    if c.search == "per_direction":
        found = attacks.per_direction(found)
        passes *= len(latent.required_directions().sigma)
    return attacks.best_of(found, c.restarts), passes


def _steepest(norm: str) -> str:
    """Return the rule that climbs fastest in a ball of this norm."""
    return "l2" if norm == "l2" else "sign"
