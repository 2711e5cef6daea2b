"""Stage directions: the population of codes in which directions are sought."""

import numpy as np
import pytest

from natra_jax.latents.objects import shown_again
from natra_jax.stages import data, directions, encode, shift
from natra_jax.types import UserError
from tests.stages import latent_work

OBJECTS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 3))


@pytest.fixture
def context(tmp_path):
    """Return the context of a work directory in which images of one object are the same image."""
    c = latent_work.config(
        encode__batch_size=4, directions__num_codes=20, directions__codes="within_objects"
    )
    made = latent_work.context(tmp_path, c)
    images = np.load(tmp_path / "data" / "wild_image.npy")
    np.save(tmp_path / "data" / "wild_image.npy", images[OBJECTS])
    np.save(tmp_path / "data" / "wild_object.npy", OBJECTS)
    return made


def test_objects_are_those_of_the_images_that_were_encoded(context):
    shift.run(context, context.workdir / "shift")
    encode.run(context, context.workdir / "encode")
    assert [*directions.limits(context)] == []
    population = directions._population(context, *shift.load(context))
    drawn = OBJECTS[encode.domain_sample(context)]
    assert len(drawn) == 20 and len(population) == shown_again(drawn).sum()
    assert encode.domain_codes(context).std(0).max() > 0.1
    assert population.std(0).max() < 1e-4, "what is the same image does not vary"


def test_objects_of_other_images_are_refused(context):
    np.save(context.workdir / "data" / "wild_object.npy", OBJECTS[1:])
    with pytest.raises(UserError, match=r"wild_object.npy: its shape is \[29\], expected \[30\]"):
        data.domain_objects(context)
