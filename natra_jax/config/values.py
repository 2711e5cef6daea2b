"""Checks that belong to one field each, by the name of what they accept."""

from __future__ import annotations

import math

from etils import epath

from natra_jax.config.checks import Check, between, is_whole, one_of
from natra_jax.data import source_of
from natra_jax.data.survey import source_names
from natra_jax.latents.choose import is_file
from natra_jax.latents.screening import CROSS_FITTED, NO_JUDGE
from natra_jax.types import UserError


def names_function(text: str) -> bool:
    """Tell whether text reads 'package.module:function'."""
    module, _, function = text.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), *function.split(".")))


def is_ready_judge(judge: str) -> bool:
    """Tell whether screening.judge is none, is cross-fitted or is a path that exists."""
    if judge in (NO_JUDGE, CROSS_FITTED):
        return True
    return bool(judge) and epath.Path(judge).expanduser().exists()  # '' would be where we are


def _is_source(name: str) -> bool:
    try:
        source_of(name)
    except UserError:
        return False
    return True


def _may_choose(choice: str) -> bool:
    choice = choice.strip()
    return not is_file(choice) or epath.Path(choice).expanduser().exists()


def _are_classes(names: tuple[object, ...]) -> bool:
    return _are_texts(names) and len(set(names)) == len(names)


def _are_texts(entries: tuple[object, ...]) -> bool:
    return all(isinstance(entry, str) for entry in entries)


def _are_methods(names: tuple[object, ...]) -> bool:
    return _are_classes(names) and len(names) > 0


def _are_seeds(seeds: tuple[object, ...]) -> bool:
    return all(is_whole(s) and SEED.holds(s) for s in seeds) and len(set(seeds)) == len(seeds) > 0


def _rise(numbers: tuple[object, ...]) -> bool:
    last = 0.0
    for number in numbers:
        if not (is_whole(number) or isinstance(number, float)) or not last < number < math.inf:
            return False
        last = number
    return bool(numbers)


SOURCE = Check(_is_source, f"one of {', '.join(source_names())}")
PIXELS = Check(lambda n: n == 0 or n >= 8, "at least 8 pixels, or 0 for what suits")
CHANNELS = Check(lambda n: n in (0, 1, 3), "3 for RGB, 1 for grey, or 0 for what suits")
ENTRIES = Check(_are_texts, "a tuple of name=folder")
CLASSES = Check(_are_classes, "names of classes")
METHODS = Check(_are_methods, "a tuple of at least one name, none twice")
SEED = between(0, 2**32 - 1)  # jax.random.key takes no more than these bits of it
SEEDS = Check(
    _are_seeds, f"a tuple of whole numbers {SEED.words}, with at least one entry, none twice"
)
DOMAIN = one_of("marginal", "target", "both")
FACTORY = Check(
    lambda path: not path or names_function(path), "empty, or 'package.module:function'"
)
JUDGE = Check(
    lambda judge: is_ready_judge(judge) or names_function(judge),
    f"{NO_JUDGE}, {CROSS_FITTED}, a path that exists, or 'package.module:function'",
)
CHOICE = Check(_may_choose, "empty, names or numbers of directions, or a .json file that exists")
MULTIPLES = Check(_rise, "finite numbers that rise from above 0")
WIDE_RESNET_DEPTH = Check(
    lambda n: 8 <= n <= 1202 and n % 6 == 2, "6 n + 2 for a whole n from 1 to 200, such as 32"
)
