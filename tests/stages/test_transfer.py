"""A pretrained generator moved to few images: nearer to held-out ones, the mapping untouched."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from etils import epath
from flax import linen as nn

from natra_jax import generators, pipeline
from natra_jax.config import validate
from natra_jax.data.digits import load
from natra_jax.evaluation.records import read_records
from natra_jax.gan.networks import Discriminator
from natra_jax.resolve import resolve
from natra_jax.stages import generator, transfer
from natra_jax.types import UserError
from natra_jax.weights import generator_config
from tests.helpers import linear_generator
from tests.stages import small

DIGITS = "package:digits"


def context(workdir, train, held_out, **fields):
    """Return a context of these train and held-out images, and the list of lines logged."""
    lines = []
    c = small.config(**{"generator__seed": 3} | fields)
    made = small.context(workdir, c)
    for name, images in (("train", train), ("val_iid", held_out)):
        np.save(workdir / "data" / f"{name}_image.npy", images)
        np.save(workdir / "data" / f"{name}_label.npy", np.zeros(len(images), int))
    info = workdir / "data" / "facts.json"
    counts = {"train": [len(train), 0, 0], "val_iid": [len(held_out), 0, 0]}
    changed = {"image_shape": train.shape[1:], "splits": list(counts), "counts": counts}
    info.write_text(json.dumps(json.loads(info.read_text()) | changed))
    (made.workdir / "generator").mkdir(exist_ok=True)
    return made._replace(log=lines.append, fingerprints={"generator": "mine"}), lines


class Flat(nn.Module):
    """A linear discriminator: one that takes no time to compile."""

    widths: tuple = ()
    group: int = 0

    @nn.compact
    def __call__(self, images):
        layer = nn.Dense(1, kernel_init=nn.initializers.zeros)
        return layer(images.reshape(len(images), -1))[:, 0]


LINEAR = linear_generator(2, 3, resolution=8, channels=3)
PRETRAINED = {
    "constant": np.zeros(192, np.float32),
    "layers": np.full((2, 3, 192), 0.1, np.float32),
    "mapping": {"scale": np.float32([1, 2, 3])},
    "buffers": {"noise": np.float32([4])},
}
MAPPED = replace(
    LINEAR,
    map=lambda params, z, *rest, **more: LINEAR.map(params, z * params["mapping"]["scale"]),
)
LINEAR_FIELDS = {
    "generator__transfer__steps": 16,
    "generator__transfer__batch_size": 4,
    "generator__transfer__learning_rate": 0.05,
    "generator__transfer__discriminator_learning_rate": 0.05,
    "generator__transfer__ema": 0.5,
    # these take long to compile
    "generator__transfer__r1": 0.0,
    "generator__transfer__augment": (),
}


def bright(count, value):
    return np.full((count, 8, 8, 3), value, np.uint8)


def moved(workdir, held_out=230, **fields):
    """Run the transfer of the linear generator to bright images."""
    made, lines = context(workdir, bright(8, 230), bright(5, held_out), **LINEAR_FIELDS | fields)
    params = transfer.transfer(made, made.workdir / "generator", MAPPED, PRETRAINED)
    return params, read_records(made.workdir / "generator" / "records.jsonl"), lines


@pytest.fixture(autouse=True, scope="module")
def linear():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "Discriminator", Flat)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return moved(tmp_path_factory.mktemp("whole"))


def test_the_synthesis_network_moves_towards_the_train_images_and_nothing_else(whole):
    params, records, lines = whole
    for name in ("mapping", "buffers"):
        jax.tree.map(np.testing.assert_array_equal, params[name], PRETRAINED[name])
    assert params["constant"].mean() > 0.05
    assert [(r.method, r.split, r.metric, r.n) for r in records] == [
        ("generator", "val_iid", f"sliced_wasserstein_{name}", 5)
        for name in ("before", "after", "of_train_images")
    ]
    before, after, real = (r.value for r in records)
    assert real == 0 < after < before
    assert f"{before:.4f} before the transfer, {after:.4f} after" in lines[-1]


def test_a_killed_transfer_ends_in_the_same_numbers(whole, tmp_path, monkeypatch):
    batches = transfer.data.domain_batches

    def failing(*arguments):
        def batch_at(step):
            if step == 11:
                raise KeyboardInterrupt
            return batches(*arguments)(step)

        return batch_at

    with monkeypatch.context() as patch:
        patch.setattr(transfer.data, "domain_batches", failing)
        with pytest.raises(KeyboardInterrupt):
            moved(tmp_path)
    params, records, lines = moved(tmp_path)
    assert any("transfer: continuing from step " in line for line in lines)
    jax.tree.map(np.testing.assert_array_equal, params, whole[0])
    assert records == whole[1]


def test_a_move_that_comes_no_nearer_to_held_out_images_is_undone_and_said(tmp_path, monkeypatch):
    brighter = {"constant": np.full(192, 0.5, np.float32)}
    monkeypatch.setattr(transfer, "_train", lambda *arguments: brighter)
    params, (before, after, _), lines = moved(tmp_path, held_out=25)
    jax.tree.map(np.testing.assert_array_equal, params, PRETRAINED)
    assert after.value > before.value
    assert lines[-1].endswith(": undone, the generator stays as it was")


def test_weights_of_another_size_are_refused_before_anything_is_trained(tmp_path):
    fields = {"generator__transfer_from": DIGITS, "generator__resolution": 8}
    said = "generator.resolution is 8: its images have 8 pixels a side, those of digits 16"
    with pytest.raises(UserError, match=said):
        c = resolve(small.config(**fields))
        validate(c, 1)


def test_weights_and_a_transfer_are_not_both_to_be_had():
    both = {"generator__transfer_from": DIGITS, "generator__weights": "package:digits_autoencoder"}
    none = {"generator__transfer_from": DIGITS, "generator__family": "none"}
    for fields, said in ((both, "transfer_from is .* must be empty"), (none, "family is 'none'")):
        with pytest.raises(UserError, match=said):
            validate(resolve(small.config(**fields)), 1)


def test_what_the_transfer_reads_is_declared_where_there_is_one():
    def fields(**changes):
        c = small.config(data__resolution=16, generator__resolution=16, **changes)
        return next(t for t in pipeline.tasks(c) if t.name == "generator")

    own, moving = fields(), fields(generator__transfer_from=DIGITS)
    assert not [name for name in own.fields if "transfer" in name]
    assert {"generator.transfer_from", "generator.transfer.steps", "generator.seed"} <= set(
        moving.fields
    )
    assert moving.depends_on == ("data",) and fields(generator__weights=DIGITS).depends_on == ()


def dark_on_light(images):
    """Recolour digits: ink dark, ground light, whatever their colours were."""
    return 255 - images.max(-1, keepdims=True) // 2 * np.uint8([1, 1, 2])


@pytest.mark.slow
def test_colour_digits_are_moved_to_a_hundred_digits_in_other_colours(tmp_path, monkeypatch):
    splits = load(seed=0, renderings=1, wild_per_image=1).splits
    train, held_out = (dark_on_light(splits[name].image) for name in ("train", "val_iid"))
    size = {"resolution": 16, "channels_out": 3, "code_dim": 64}
    size |= {"base_channels": 32, "max_channels": 64, "transfer_from": DIGITS}
    fields = {f"generator__{name}": value for name, value in size.items()}
    fields |= {"generator__transfer__steps": 150}
    made, _ = context(tmp_path, train[:100], held_out, **fields)
    monkeypatch.setattr(transfer, "Discriminator", Discriminator)
    directory = epath.Path(tmp_path) / "generator"
    generator.run_transfer(made, directory)
    own = generators.build("style_small", generator_config.own_arguments(made.config.generator))
    before, after = generators.load_weights("digits", own), generator.load(made)[1]
    jax.tree.map(np.testing.assert_array_equal, after["mapping"], before["mapping"])
    distance = {r.metric: r.value for r in read_records(directory / "records.jsonl")}
    assert distance["sliced_wasserstein_after"] < 0.5 * distance["sliced_wasserstein_before"]
