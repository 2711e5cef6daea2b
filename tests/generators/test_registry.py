"""Generators made of what a file says: absurd numbers and other types are refused by arithmetic."""

import time

import jax
import pytest

from natra_jax.generators import build
from natra_jax.types import UserError

SMALL = {
    "style_small": {"resolution": 8, "code_dim": 4, "base_channels": 2, "max_channels": 4},
    "stylegan2": {"resolution": 8, "z_dim": 4, "code_dim": 4, "channels": [4, 4]},
    "stylegan": {"resolution": 8, "z_dim": 4, "code_dim": 4, "channels": [4, 4]},
    "progan": {"resolution": 8, "z_dim": 4, "channels": [4, 4]},
    "biggan": {"resolution": 8, "z_dim": 4, "label_dim": 3, "channels": [8, 8]},
    "biggan_deep": {
        **{"resolution": 8, "z_dim": 4, "label_dim": 3, "embed_dim": 4},
        **{"channels": [8, 8], "upsample": [True]},
    },
    "dcgan": {"channels": [4, 4], "z_dim": 4},
}
ABSURD = (
    *(
        10**9,
        2**40,
        2**62,
        10**299,
        -1,
        -(2**70),
        True,
        8.5,
        16.0,
        "8",
        None,
        {},
        [8],
        [8] * 10_000,
    ),
    *([2**40] * 2, [10**299, 4], [4, "4"], [4, 4.5], [4, True], [[4], 4], [-4, 4]),
)


@pytest.mark.parametrize("function", SMALL)
def test_every_number_is_a_number_and_of_a_size_that_can_be(function):
    assert build(function, SMALL[function]).family
    for name in SMALL[function]:
        for value in ABSURD:
            start = time.perf_counter()
            try:
                generator = build(function, SMALL[function] | {name: value})
            except UserError as error:
                assert len(str(error).splitlines()) == 1 and len(str(error)) < 1000
            else:
                assert value in (None, [8], {}) or (name, value) == ("upsample", [True]), (
                    name,
                    value,
                )
                jax.eval_shape(generator.init, jax.random.key(0))
            assert time.perf_counter() - start < 2, (name, value)


@pytest.mark.parametrize(
    "function, change, words",
    [
        ("stylegan2", {"z_dim": 10**9}, r"z_dim is 1000000000: it must be in 0\.\.1048576"),
        ("stylegan2", {"mapping_layers": 2**20}, "mapping_layers is 1048576: "),
        (
            "style_small",
            {"resolution": 2**40},
            r"resolution is 1099511627776: it must be in 0\.\.16384",
        ),
        ("dcgan", {"channels": [1] * 40}, "resolution is"),
        ("dcgan", {"channels": [1] * 400}, "channels has 400 entries, more than 64"),
        ("dcgan", {"channels": [4, 4.5]}, r"channels\[1\]: Expected int, got float"),
        ("dcgan", {"depth": 3}, "unexpected keyword argument 'depth'"),
        ("progan", {"lod": "0"}, "lod: Expected float, got str"),
    ],
)
def test_the_argument_is_named(function, change, words):
    with pytest.raises(UserError, match=words):
        build(function, SMALL[function] | change)
