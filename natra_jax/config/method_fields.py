"""The fields of the methods' sections: default, help, valid values and unit."""

from __future__ import annotations

from natra_jax.attacks.adaptive import SMOOTHED_TOWARDS
from natra_jax.attacks.search import DRAWS
from natra_jax.attacks.spaces.mixing import SOURCES as MIXING_SOURCES
from natra_jax.config.checks import above, at_least, between, one_of
from natra_jax.config.field import Field, Section
from natra_jax.methods import natra, natural, random

# Laid out by hand: a line or two for each field.
# fmt: off

_NATRA: Section = {
    "num_steps": Field(5, "K of NaTra eq. 6, steps of the search", at_least(0)),
    "restarts": Field(1, "N_r, searches from different starts", at_least(1)),
    "start": Field("uniform",
        "of the first search: encoded: the encoded point | uniform, corner, normal: a random point "
        "of that kind | persistent: where the example's last search ended",
        one_of(*natural.STARTS)),
    "draw": Field("uniform",
        "kind of the later restarts' random points, and of persistent's new ones, where start is "
        "none: uniform | corner | normal (N(0, 1), projected)", one_of(*DRAWS)),
    "redraw": Field(0.2,
        "for persistent: probability that a search starts at a random point", between(0, 1)),
    "rule": Field("steepest",
        "of a step: steepest: the norm's own | sign | l2 | gradient: as NaTra eq. 6 prints it",
        one_of(*natural.RULES)),
    "step_size": Field(
        0.0, "of a step; 0: 2.5 radius / num_steps", at_least(0), "natra.units"),
    "norm": Field("linf", "of the ball", one_of("linf", "l2")),
    "units": Field("sigma", "of r, rho and every epsilon", one_of("sigma", "raw")),
    "rho": Field(0.3,
        "growth of an example's radius at each visit it withstands", at_least(0), "natra.units"),
    "epsilon_max": Field(2.0, "cap of the radius", above(0), "natra.units"),
    "smoothing": Field(0.15, "c of label smoothing, per unit of radius", at_least(0)),
    "truncation": Field(2.0, "bound of moves, around the population's mean", above(0), "sigma"),
    "search": Field("joint",
        "joint: all directions at once; per_direction: one each, the worst kept (NaTra eq. 4)",
        one_of(*natural.SEARCHES)),
    "loss": Field("ce",
        "ce: cross entropy to soft labels; mixed: CAT's, which adds the margin to the label",
        one_of(*natra.LOSSES)),
    "search_loss": Field("same",
        "climbed by the search: same: natra.loss | ce, margin, dlr: to hard labels",
        one_of(*natra.SEARCH_LOSSES)),
    "smoothed": Field("both",
        "where labels are soft: search | update | both", one_of(*natra.SMOOTHED)),
    "smoothed_towards": Field("dirichlet",
        "dirichlet: a random distribution, drawn at each visit | uniform: all classes alike",
        one_of(*SMOOTHED_TOWARDS)),
    "residual": Field(False,
        "vary the image itself by what changes in its reconstruction, in training"),
    "kappa": Field(10.0, "for mixed: margins below -kappa count as -kappa", at_least(0), "logits"),
}

_NATRA_PAPER: Section = {  # what the paper leaves free; the set is natra's
    "num_steps": Field(5, "K of NaTra eq. 6, for natra_paper", at_least(0)),
    "rho": Field(0.3,
        "growth of an example's radius at each visit it withstands", at_least(0), "natra.units"),
    "smoothing": Field(0.15, "c of label smoothing, per unit of radius", at_least(0)),
}

_NATRA_OA: Section = {"epsilon": Field(2.0, "fixed radius", at_least(0), "natra.units")}

_RANDOM: Section = {
    "kind": Field("box",
        "box: uniform in natra's largest set; corner: a corner of it; normal_w: N(0, 1) on every "
        "code, as the paper says",
        one_of(*random.KINDS)),
}

_MIXUP: Section = {"alpha": Field(0.2, "lambda ~ Beta(alpha, alpha), for mixi and mixl", above(0))}

_ADVMIX: Section = {
    "layers": Field(
        (0, 1), "(first, last + 1) of the layers whose codes are replaced, by randmix as well"),
    "source": Field("prior",
        "of the replacement: a fresh code of the generator's, or another train example's",
        one_of(*MIXING_SOURCES)),
    "epsilon": Field(
        0.03, "radius around the replacement, in the generator's own code units", at_least(0)),
    "num_steps": Field(5, "K, steps of the search", at_least(0)),
    "restarts": Field(5, "N_r, each with a replacement of its own", at_least(1)),
}

_AUGMENT: Section = {
    "crop": Field(4, "reflected border that the image is cut from", at_least(0), "pixels"),
    "flip": Field(True, "left to right, with probability 1/2"),
    "brightness": Field(0.4, "factor uniform in 1 - 0.4 .. 1 + 0.4", at_least(0)),
    "contrast": Field(0.4, "likewise", at_least(0)),
    "saturation": Field(0.4, "likewise", at_least(0)),
    "hue": Field(0.1, "uniform within this on both sides", at_least(0), "turns"),
    "cutout": Field(8, "side of the grey square; 0: none", at_least(0), "pixels"),
}

_ADVBN: Section = {
    "group_size": Field(64,
        "neighbouring examples that share m and s; divides a device's share of the batch",
        at_least(1), "images"),
    "num_steps": Field(6, "ascent steps on m and s", at_least(0)),
    "step_size": Field(0.2, "of an ascent step", at_least(0)),
    "epsilon": Field(1.1, "m and s stay within 1 - epsilon .. 1 + epsilon", at_least(0)),
    "steps": Field(300, "of fine-tuning; the learning rate is a tenth after half", at_least(1)),
    "learning_rate": Field(1e-3, "of SGD", above(0)),
    "momentum": Field(0.9, "of SGD", at_least(0)),
    "weight_decay": Field(1e-4, "of SGD", at_least(0)),
}

_ADV: Section = {
    "epsilon": Field(16 / 255, "of the range [-1, 1]: 8/255 of [0, 1]", at_least(0)),
    "step_size": Field(4 / 255, "of the range [-1, 1]", at_least(0)),
    "num_steps": Field(10, "steps of PGD in pixels", at_least(0)),
}

# fmt: on

METHODS: Section = {
    "natra": _NATRA,
    "natra_oa": _NATRA_OA,
    "natra_paper": _NATRA_PAPER,
    "random": _RANDOM,
    "mixup": _MIXUP,
    "advmix": _ADVMIX,
    "augment": _AUGMENT,
    "advbn": _ADVBN,
    "adv": _ADV,
}
