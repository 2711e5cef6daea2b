"""The images that encoder and shift are fitted to: generator's domain, train split, or both."""

import numpy as np
import pytest

from natra_jax.stages import data
from natra_jax.types import UserError
from tests.stages import latent_work, small

DARK, BRIGHT = 10, 240  # of the generator's domain, and of the train split
SHARES = {"marginal": (5, 0), "target": (0, 5), "both": (3, 2)}


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("work")
    made = small.context(workdir, small.config())
    for name, count, value in (
        ("wild", latent_work.NUM_DOMAIN, DARK),
        ("train", small.NUM_EXAMPLES, BRIGHT),
    ):
        images = np.full((count, *small.SHAPE), value, np.uint8)
        images[:, 0, 0, 0] = np.arange(count)
        np.save(workdir / "data" / f"{name}_image.npy", images)
    return made


def seen(context, domain, steps=range(4), seed=0, size=5):
    """Return [(whether it is bright, its number) of every image], batch by batch."""
    batch_at = data.domain_batches(context, domain, size, seed, "encoder.batch_size")
    images = [batch_at(step)["image"] for step in steps]
    assert all(batch.shape == (size, *small.SHAPE) and batch.dtype == np.uint8 for batch in images)
    return [[(image[1, 1, 1] == BRIGHT, image[0, 0, 0]) for image in batch] for batch in images]


@pytest.mark.parametrize("domain", SHARES)
def test_every_batch_has_its_share_of_either(context, domain):
    batches = seen(context, domain)
    for batch in batches:
        bright = sum(bright for bright, _ in batch)
        assert (len(batch) - bright, bright) == SHARES[domain]
        assert len(set(batch)) == 5
    assert batches[0] != batches[1]
    # a function of step and seed alone
    (again,), (other,) = (seen(context, domain, steps=[2], seed=seed) for seed in (0, 1))
    assert again == batches[2] != other


@pytest.mark.parametrize(
    ("domain", "size", "fit"),
    [("marginal", 31, 30), ("target", 13, 12), ("both", 25, 24), ("both", 1, 2)],
)
def test_a_batch_that_there_are_no_images_for_is_the_users_error(context, domain, size, fit):
    with pytest.raises(UserError, match=f"config field shift.batch_size is {size}, "):
        data.domain_batches(context, domain, size, 0, "shift.batch_size")
    seen(context, domain, steps=[0], size=fit)
