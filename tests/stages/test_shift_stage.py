"""Stage shift: what it keeps and undoes; the variant in which an image has a single code."""

import jax
import numpy as np
import pytest

from natra_jax.config import flatten
from natra_jax.evaluation.records import read_records
from natra_jax.stages import encoder, generator, shift
from natra_jax.stages.context import single
from tests.stages import latent_work, small

SETTINGS = {"shift__steps": 3, "shift__batch_size": 8, "shift__learning_rate": 0.05}


def shifted(workdir, held_out, **fields):
    """Run the stage on bright train images and return (context, lines logged).

    The held-out images have the given value throughout.
    """
    said = []
    context = latent_work.context(workdir, latent_work.config(**SETTINGS | fields), said)
    for name, value in (("train", 230), ("val_iid", held_out)):
        path = workdir / "data" / f"{name}_image.npy"
        np.save(path, np.full_like(np.load(path), value))
    shift.run(context, context.workdir / "shift")
    return context, said


def change(context):
    """Return the largest change of each part of the generator's parameters."""
    (_, before), (_, after) = generator.load(context), shift.load(context)

    def largest(a, b):
        return max(
            np.abs(x - y).max() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        )

    return {name: largest(before[name], after[name]) for name in before}


@pytest.mark.slow
def test_a_shift_towards_the_train_images_is_kept_and_leaves_the_mapping_alone(tmp_path):
    context, said = shifted(tmp_path, 230)
    largest = change(context)
    assert largest.pop("mapping") == 0 and min(largest.values()) > 1e-3
    records = read_records(context.workdir / "shift" / "records.jsonl")
    assert [(r.method, r.split, r.metric, r.n) for r in records] == [
        ("shift", "val_iid", f"reconstruction_error_{when}", latent_work.NUM_HELD_OUT)
        for when in ("before", "after")
    ]
    before, after = (r.value for r in records)
    assert after < before and said[-1].endswith(f"{before:.5f} before, {after:.5f} after")
    # the figures are of the generators that there are
    model, params = encoder.load(context)
    generator_, moved = shift.load(context)
    _, original = generator.load(context)
    images = np.full((1, 8, 8, 3), 230 / 127.5 - 1, np.float32)

    @jax.jit
    def error(generator_params):
        decoded = generator_.synthesize(generator_params, model.encode(params, images))
        return ((decoded - images) ** 2).mean()

    np.testing.assert_allclose([error(original), error(moved)], [before, after], rtol=1e-4)


def test_a_shift_that_makes_held_out_images_worse_is_undone_and_says_so(tmp_path):
    context, said = shifted(tmp_path, 25)
    before, after = (r.value for r in read_records(context.workdir / "shift" / "records.jsonl"))
    assert after > before and said[-1].endswith("after: undone, the generator stays as it was")
    assert set(change(context).values()) == {0}
    assert not (context.workdir / "shift" / "params.npz").exists()


def test_without_steps_the_generator_stays_and_nothing_is_measured(tmp_path):
    context, said = shifted(tmp_path, 230, shift__steps=0)
    assert set(change(context).values()) == {0} and said == []
    assert {path.name for path in (context.workdir / "shift").iterdir()} == {"shift.json"}


@pytest.mark.parametrize(("codes", "num_codes"), [("w+", 1), ("w", 2), ("w+", 2)])
def test_the_single_variant_has_one_code_an_image_and_places_of_its_own(tmp_path, codes, num_codes):
    c = latent_work.config(encoder__codes=codes, encoder__num_codes=num_codes)
    context = latent_work.context(tmp_path, c)
    variant = single(context)
    names = [made.task_name("encode") for made in (context, variant, single(variant))]
    assert names == ["encode", "encode-ol", "encode-ol"]
    (model, generator_), (of_variant, plain) = encoder.build(context), encoder.build(variant)
    base = generator.build(context)
    assert not of_variant.per_layer and of_variant.layout is None and plain == base
    assert model.per_layer == (codes == "w+") and (generator_ == base) == (num_codes == 1)
    own, of_variant = (flatten(c.config) for c in (context, variant))
    assert own | {"encoder.codes": "w", "encoder.num_codes": 1} == of_variant


def test_an_experiment_with_a_single_code_is_its_own_variant(tmp_path):
    context = small.context(tmp_path, latent_work.config(encoder__codes="w"))
    assert single(context) is context and context.task_name("encode") == "encode"


def test_the_variant_reads_its_own_shift(tmp_path):
    context, _ = shifted(tmp_path, 230, shift__steps=0)
    variant = single(context)
    (tmp_path / "shift-ol").mkdir()
    other = dict(np.load(tmp_path / "generator" / "params.npz"))
    other["rgb/bias"] = np.float32([7, 8, 9])
    np.savez(tmp_path / "shift-ol" / "params.npz", **other)
    (tmp_path / "shift-ol" / "shift.json").write_text('{"shifted": true}')
    np.testing.assert_array_equal(shift.load(variant)[1]["rgb"]["bias"], [7, 8, 9])
    assert np.all(shift.load(context)[1]["rgb"]["bias"] != [7, 8, 9])
