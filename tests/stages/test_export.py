"""The augmented data set of NaTra eq. 7: every row tells how its image was made.

Failures fail as they are written.
"""

import csv

import numpy as np
import pytest
from PIL import Image

from natra_jax import attacks
from natra_jax.data import to_float
from natra_jax.stages import classifier, export
from tests.classifiers import own
from tests.stages import small
from tests.training import small as latent_small

GENERATOR, PARAMS, ALONG = latent_small.latent()
STEPS = ALONG.sigma[:, None, None] * ALONG.vectors
N, EPSILON = small.NUM_EXAMPLES, 0.9
RNG = np.random.default_rng(0)
CODES = RNG.normal(size=(N, GENERATOR.num_layers, GENERATOR.code_dim)).astype(np.float32)


@pytest.fixture(scope="module")
def weights():
    """Return those of a linear classifier with every class among its answers."""
    clean = np.asarray(GENERATOR.synthesize(PARAMS, CODES)).reshape(N, -1)
    kernel = (
        np.random.default_rng(1).normal(size=(clean.shape[1], small.CLASSES)).astype(np.float32)
    )
    return [own.Weights(kernel, -(clean @ kernel).mean(0)), {"scale": np.float32(1)}]


@pytest.fixture
def exported(tmp_path, monkeypatch, weights):
    """Return (**fields of export) -> (directory, labels, rows).

    Codes and directions are known, the classifier is linear, and some of its answers are right.
    """
    variables = {"params": {"weights": weights}, "batch_stats": {}}
    params = latent_small.cast(PARAMS, np.float32)
    monkeypatch.setattr(export.encode, "train_codes", lambda context: CODES)
    monkeypatch.setattr(export.screen, "load", lambda context: ALONG)
    monkeypatch.setattr(
        export.screen, "space", lambda context: attacks.directions(GENERATOR, params, ALONG)
    )
    monkeypatch.setattr(
        export.train, "load", lambda context, method, seed: classifier.Trained(variables, None)
    )

    def run(**fields):
        c = small.config(
            "plain",
            eval__batch_size=5,
            natra__restarts=4,
            **{f"export__{name}": value for name, value in fields.items()},
        )
        context = small.context(tmp_path, c)
        labels = np.asarray(own.plain_apply(weights, GENERATOR.synthesize(params, CODES))).argmax(1)
        np.save(tmp_path / "data" / "train_label.npy", labels)
        directory = context.workdir / "export"
        directory.mkdir()
        export.run(context, directory)
        with open(directory / "table.csv", newline="") as file:
            return directory, labels, list(csv.DictReader(file))

    return run


def check(directory, labels, rows, weights):
    """Compare every row with its image, which is decoded anew."""
    files = {path.relative_to(directory).as_posix() for path in (directory / "images").glob("*/*")}
    assert files == {row["file"] for row in rows} and len(files) == len(rows)
    index = np.array([int(row["index"]) for row in rows])
    moved = np.array([ALONG.names.index(row["direction"]) for row in rows])
    r = np.array([float(row["r"]) for row in rows])
    decoded = np.asarray(
        GENERATOR.synthesize(PARAMS, CODES[index] + r[:, None, None] * STEPS[moved])
    )
    assert np.abs(decoded).max() > 1, "some of it has to be cut"
    pixels = np.stack([np.asarray(Image.open(directory / row["file"])) for row in rows])
    assert pixels.dtype == np.uint8 and pixels.shape[1:] == small.SHAPE
    assert np.abs(pixels - (np.clip(decoded, -1, 1) + 1) * 127.5).max() < 0.51
    assert np.abs(r).max() <= EPSILON + 1e-6
    np.testing.assert_array_equal([int(row["label"]) for row in rows], labels[index])
    assert all(row["file"].startswith(f"images/{row['label']}/") for row in rows)
    # what a user's training will see of them
    predictions = np.asarray(own.plain_apply(weights, to_float(pixels))).argmax(1)
    np.testing.assert_array_equal(
        [row["failed"] == "1" for row in rows], predictions != labels[index]
    )
    return index, moved


def test_every_variation_is_exported_with_how_it_was_made(exported, weights):
    directory, labels, rows = exported(failures_only=False, epsilon=EPSILON)
    assert list(rows[0]) == ["file", "index", "label", "direction", "r", "failed"]
    index, moved = check(directory, labels, rows, weights)
    assert sorted(zip(index, moved, strict=True)) == [
        (i, s) for i in range(N) for s in range(len(ALONG.names))
    ]
    failed = [row for row in rows if row["failed"] == "1"]
    assert 0 < len(failed) < len(rows)


def test_of_failures_only_every_image_fails(exported, weights):
    directory, labels, rows = exported(failures_only=True, epsilon=EPSILON)
    check(directory, labels, rows, weights)
    assert 0 < len(rows) < N * len(ALONG.names) and all(row["failed"] == "1" for row in rows)


def test_the_table_runs_no_formula(exported, monkeypatch):
    names = tuple(f"=HYPERLINK({s})\x1b\n" for s in range(len(ALONG.names)))
    monkeypatch.setattr(export.screen, "load", lambda context: ALONG._replace(names=names))
    directory, _, rows = exported(failures_only=False, epsilon=EPSILON)
    assert {row["direction"] for row in rows} == {
        rf"'=HYPERLINK({s})\x1b\n" for s in range(len(names))
    }
    assert all(abs(float(row["r"])) <= EPSILON + 1e-6 for row in rows)
    assert (directory / "table.csv").read_text().count("\n") == 1 + len(rows)


def test_what_is_exported_is_the_methods_asked_for_or_the_baselines():
    assert export.method(small.config(methods=("adv", "original"))) == "original"
    assert export.method(small.config(methods=("adv", "mixi"))) == "adv"
    assert export.method(small.config(methods=("adv", "original"), export__method="adv")) == "adv"
