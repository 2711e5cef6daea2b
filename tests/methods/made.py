"""Every method as an experiment's config makes it, small enough for tests.

The generator and the classifier of tests.training.small.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
from jax.tree_util import Partial
from ml_collections import ConfigDict

from natra_jax import methods
from natra_jax.experiments import smoke
from natra_jax.methods import Latent
from natra_jax.training.fit import with_auxiliary
from natra_jax.training.state import TrainState
from natra_jax.types import Batch, Method, Partners
from tests.training import small

# a method with a single code is another's on other codes
NAMES = (
    *(name for name, spec in methods.METHODS.items() if not spec.single_code),
    "augment+advbn",
    "natra+advbn",
)
GROUP = 4  # examples that share AdvBN's m and s


def config(**fields) -> ConfigDict:
    """Short searches; double underscores stand for dots."""
    c = smoke.get_config()
    c.natra.update(
        num_steps=2, rho=small.RHO, epsilon_max=small.EPSILON_MAX, smoothing=small.SMOOTHING
    )
    c.natra_oa.epsilon = small.EPSILON_MAX
    c.adv.num_steps = 2
    c.advmix.update(layers=(2, 4), num_steps=2, restarts=2)
    c.advbn.update(group_size=GROUP, num_steps=2)
    c.augment.update(crop=1, flip=True, cutout=3)
    c.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return c


def method(name: str, latent: Latent | None = None, dtype: type = np.float32, **fields) -> Method:
    """The named method, with NumPy arrays of dtype."""
    return small.cast(
        methods.find(name).build(config(**fields), small.NUM_CLASSES, latent or small.latent()),
        dtype,
    )


def batch(index, partners: Partners | None, dtype: type = np.float32) -> Batch:
    """The examples of these indices, with partners that depend on the example alone."""
    arrays, index = small.examples(), np.asarray(index, np.int32)
    others = np.random.default_rng(5).integers(0, small.NUM_EXAMPLES, (small.NUM_EXAMPLES, 4))[
        index
    ]
    made = {name: array[index] for name, array in arrays.items()} | {"index": index}
    if partners is not None:
        made |= {
            f"partner_{name}": arrays[name][others[:, : partners.count]] for name in partners.arrays
        }
    return small.cast(made, dtype)


def ready(state: TrainState, of: Method) -> TrainState:
    """In the middle of training.

    Radii of all sizes, BatchNorm statistics away from where they start, an auxiliary BatchNorm
    where the method needs it.
    """
    rng = np.random.default_rng(0)
    statistics = jax.tree.map(
        lambda x: x + rng.uniform(0.1, 0.5, x.shape).astype(x.dtype), state.batch_stats
    )
    radii = np.minimum(
        small.RHO * rng.integers(0, 4, small.NUM_EXAMPLES), small.EPSILON_MAX
    ).astype(state.epsilon.dtype)
    state = state._replace(batch_stats=statistics, epsilon=radii, step=np.int32(7))
    if of.perturb is not None:
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        state = state._replace(
            **with_auxiliary(
                small.builder("batch")(None), variables, (small.RESOLUTION, small.RESOLUTION, 3)
            )
        )
    return state


def tapped(of: Method, seen: dict) -> Method:
    """The same method, which leaves what it makes in seen.

    For use inside of one trace, whose outputs can then tell of its inside.
    """

    def tap(kind):
        def call(*arguments):
            seen[kind] = getattr(of, kind)(*arguments)
            return seen[kind]

        return Partial(call)

    return replace(
        of, **{kind: tap(kind) for kind in ("vary", "perturb") if getattr(of, kind) is not None}
    )
