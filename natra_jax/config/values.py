"""Checks that belong to one field each, by the name of what they accept."""

from __future__ import annotations

from etils import epath

from natra_jax.config.checks import Check, between, one_of
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
    return judge in (NO_JUDGE, CROSS_FITTED) or epath.Path(judge).expanduser().exists()


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
    return all(isinstance(name, str) for name in names) and len(set(names)) == len(names)


def _are_distinct(values: tuple[object, ...]) -> bool:
    return len(set(values)) == len(values) > 0


def _are_seeds(seeds: tuple[object, ...]) -> bool:
    return all(isinstance(s, int) and SEED.holds(s) for s in seeds) and _are_distinct(seeds)


def _rise(numbers: tuple[object, ...]) -> bool:
    last = 0.0
    for number in numbers:
        if not isinstance(number, int | float) or not number > last:
            return False
        last = number
    return bool(numbers)


SOURCE = Check(_is_source, f"one of {', '.join(source_names())}")
PIXELS = Check(lambda n: n == 0 or n >= 8, "at least 8 pixels, or 0 for what suits")
CHANNELS = Check(lambda n: n in (0, 1, 3), "3 for RGB, 1 for grey, or 0 for what suits")
CLASSES = Check(_are_classes, "names of classes")
DISTINCT = Check(_are_distinct, "a tuple of at least one entry, none twice")
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
MULTIPLES = Check(_rise, "numbers that rise from above 0")
WIDE_RESNET_DEPTH = Check(
    lambda n: 8 <= n <= 1202 and n % 6 == 2, "6 n + 2 for a whole n from 1 to 200, such as 32"
)
