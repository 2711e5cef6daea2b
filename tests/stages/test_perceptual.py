"""The network whose features NaTra eq. 9 compares: the user's VGG-16, kept by its task."""

import json

import jax
import numpy as np
import pytest

from natra_jax.evaluation.records import read_records
from natra_jax.inputs import Inputs
from natra_jax.stages import encoder, perceptual
from natra_jax.types import UserError
from tests.classifiers import torchvision_nets as theirs
from tests.stages import latent_work

TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")


@pytest.fixture
def context(tmp_path):
    """Return a context with a small VGG-16 of the user's, and its task done."""
    np.savez(tmp_path / "vgg16.npz", **theirs.of_golden())
    c = latent_work.config(
        encoder__perceptual="vgg16",
        encoder__perceptual_weights=str(tmp_path / "vgg16.npz"),
        encoder__gamma2=0.5,
        encoder__steps=2,
        encoder__batch_size=4,
    )
    context = latent_work.context(tmp_path / "work", c)
    directory = context.workdir / perceptual.NAME
    directory.mkdir()
    perceptual.check(context)
    perceptual.run(context, directory)
    (tmp_path / "vgg16.npz").unlink()  # the task has kept all that is needed of it
    return context


def test_its_features_are_the_first_four_taps_and_an_encoder_is_fitted_and_measured_with_them(
    context,
):
    golden, features_fn = theirs.golden(), perceptual.load(context)
    leaves, _ = jax.tree.flatten_with_path(features_fn)
    assert not any("dense" in jax.tree_util.keystr(path) for path, _ in leaves)
    features = jax.jit(lambda f, x: f(x))(features_fn, 2 * theirs.nhwc(golden["in/image01"]) - 1)
    for name, found in zip(TAPS, features, strict=True):
        np.testing.assert_allclose(
            found, theirs.nhwc(golden[f"out/{name}"]), atol=1e-4, err_msg=name
        )

    directory = context.workdir / "encoder"
    before = (directory / "params.npz").read_bytes()
    encoder.run(context, directory)
    assert (directory / "params.npz").read_bytes() != before
    found = {record.metric: record.value for record in read_records(directory / "records.jsonl")}
    assert found["perceptual_error"] > 0.01 and np.isfinite(found["perceptual_error"])


def test_grey_images_have_the_features_of_three_equal_channels(context):
    facts = context.workdir / "data" / "facts.json"
    info = json.loads(facts.read_text())
    facts.write_text(json.dumps(info | {"image_shape": [*info["image_shape"][:2], 1]}))
    features = jax.jit(perceptual.load(context))
    images = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 1)).astype(np.float32)
    for grey, colour in zip(features(images), features(np.repeat(images, 3, 3)), strict=True):
        np.testing.assert_allclose(grey, colour, atol=1e-5)
        assert np.std(grey) > 0


def test_what_is_not_there_or_no_vgg16_is_refused_before_anything_is_trained(context, tmp_path):
    def again():
        return context._replace(inputs=Inputs())  # of another start

    with pytest.raises(UserError, match="vgg16.npz: "):
        perceptual.check(again())
    np.savez(tmp_path / "vgg16.npz", **theirs.resnet_state())
    with pytest.raises(UserError, match="are no VGG-16's"):
        perceptual.check(again())
    np.savez(tmp_path / "vgg16.npz", **theirs.vgg_state())
    refused = "vgg16.npz: is of a VGG-16 with BatchNorm: config field encoder.perceptual_weights"
    with pytest.raises(UserError, match=f"{refused} takes"):
        perceptual.check(again())
    damaged = context.workdir / perceptual.NAME / "vgg16.json"
    for text in ("{", "[]", json.dumps({"widths": 3})):
        damaged.write_text(text)
        with pytest.raises(UserError, match="vgg16.json: cannot be read"):
            perceptual.load(context)
