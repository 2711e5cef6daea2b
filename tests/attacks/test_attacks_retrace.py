"""What is built anew from equal settings is not traced anew."""

import chex
import jax
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

from natra_jax import attacks
from tests.helpers import (
    example_keys,
    linear_generator,
    linear_params,
    oblique_directions,
    two_layer,
    two_layer_weights,
)

B = 6
GENERATOR = linear_generator()
PARAMS = linear_params(GENERATOR)
DIRECTIONS = oblique_directions(GENERATOR)
ADAM = optax.adam(0.1)  # two transformations are two functions: it is the user's to keep

SEARCHES = {
    "pgd": lambda: attacks.pgd(2),
    "pgd, settings": lambda: attacks.pgd(2, 0.1, rule="l2", random_start=True, decay=0.9),
    "pgd, optax": lambda: attacks.pgd(2, ADAM),
    "auto_pgd": lambda: attacks.auto_pgd(2, rule="l2", random_start=True),
    "best_of": lambda: attacks.best_of(attacks.pgd(1), 2, early_stop=True),
    "per_direction": lambda: attacks.per_direction(attacks.pgd(1)),
    "random_search": lambda: attacks.random_search(2),
}
SPACES = {
    "linf": lambda: attacks.linf((0.0, 1.0)),
    "l2": lambda: attacks.l2(),
    "directions": lambda: attacks.directions(GENERATOR, PARAMS, DIRECTIONS, norm="l2"),
    "mixing": lambda: attacks.mixing(GENERATOR, PARAMS, np.array([False, True, True])),
    "feature_stats": lambda: attacks.feature_stats(2, relu=False),
}


@pytest.fixture(autouse=True)
def fresh_counters():
    chex.clear_trace_counter()


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_from_equal_settings_is_the_same_function(name):
    assert SEARCHES[name]() is SEARCHES[name]()


def test_other_settings_give_other_functions():
    assert attacks.pgd(2) is not attacks.pgd(3)
    assert attacks.pgd(2, random_start=True) is not attacks.pgd(2)
    assert attacks.best_of(attacks.pgd(2), 2) is not attacks.best_of(attacks.pgd(2), 3)


@pytest.mark.parametrize("name", SPACES)
def test_a_space_and_an_objective_built_anew_are_not_traced_anew(name):
    origins = {
        "directions": np.ones((B, GENERATOR.num_layers, GENERATOR.code_dim), np.float32),
        "mixing": np.ones((B, GENERATOR.num_layers, GENERATOR.code_dim), np.float32),
        "feature_stats": np.ones((B, 2, 2, 1), np.float32),
    }
    images = np.full((B, 2, 2, 1), 0.5, np.float32)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(loss_fn, space, origin):
        return attacks.pgd(2)(loss_fn, example_keys(B), space, origin, np.ones(B, np.float32))

    for seed in range(3):
        logits_fn = Partial(two_layer, two_layer_weights(4, 3, seed))
        loss_fn = attacks.objective(logits_fn, np.zeros(B, int), loss="margin", targeted=True)
        run.trace(loss_fn, SPACES[name](), origins.get(name, images))
