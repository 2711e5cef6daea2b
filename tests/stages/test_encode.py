"""Stage encode: codes by index, in parts: a killed run ends in the same files as a whole one."""

import jax
import numpy as np
import pytest

from natra_jax.data import to_float
from natra_jax.latents.reconstruction import Reconstruction
from natra_jax.stages import data, encode, encoder, shift
from tests.stages import latent_work

SIZE, PART, NUM_CODES = 4, 8, 20


def context_of(workdir, said=None, **fields):
    c = latent_work.config(encode__batch_size=SIZE, directions__num_codes=NUM_CODES, **fields)
    context = latent_work.context(workdir, c, said)
    shift.run(context, context.workdir / "shift")
    return context


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    monkeypatch.setattr(encode, "_PART", PART)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the context, the lines logged and the files of a run that nothing disturbed."""
    said, original = [], encode._PART
    encode._PART = PART
    context = context_of(tmp_path_factory.mktemp("whole"), said)
    run(context)
    encode._PART = original
    return context, said, files(context)


def run(context):
    encode.run(context, context.workdir / "encode")


def files(context):
    return {path.name: path.read_bytes() for path in (context.workdir / "encode").iterdir()}


def codes_of(context, images):
    model, params = encoder.load(context)
    return np.asarray(jax.jit(model.encode)(params, to_float(images)))


def test_codes_lie_at_their_examples_index_and_parts_are_gone(whole):
    context, said, written = whole
    assert set(written) == {"train.npy", "wild.npy"}
    train = encode.train_codes(context)
    assert train.dtype == np.float32 and train.std() > 0.1
    np.testing.assert_allclose(
        train, codes_of(context, data.split(context, "train").image), atol=1e-5
    )
    assert said[-1].startswith(f"encode: {NUM_CODES} images to wild.npy")


def test_the_sample_of_the_generators_domain_is_of_different_images_in_their_order(whole):
    context, _, _ = whole
    wild = codes_of(context, data.domain_images(context)).reshape(latent_work.NUM_DOMAIN, -1)
    sample = encode.domain_codes(context).reshape(NUM_CODES, -1)
    distance = np.abs(sample[:, None] - wild[None]).max(2)
    index = distance.argmin(1)
    assert np.all(np.diff(index) > 0) and distance.min(1).max() < 1e-5


def test_other_images_are_encoded_alike(whole):
    context, _, _ = whole
    images = data.split(context, "val_iid").image
    np.testing.assert_allclose(
        encode.encode_images(context, images), codes_of(context, images), atol=1e-5
    )


class Killed(BaseException):
    """As an interrupt: nothing catches it."""


def kill_at(monkeypatch, context, count, left):
    """Run until the part `count` (from 0) is written, a share `left` of whose bytes is kept."""
    written, save = [], encode.save_array

    def interrupted(path, array):
        written.append(path.name)
        save(path, array)
        if len(written) > count:
            path.write_bytes(path.read_bytes()[: int(left * path.stat().length)])
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(encode, "save_array", interrupted)
        with pytest.raises(Killed):
            run(context)


def resume(monkeypatch, context):
    """Run to the end and return the number of images that were still encoded."""
    encoded, in_batches = [], encode.in_batches

    def counted(*arguments):
        for batch in in_batches(*arguments):
            encoded.append(len(batch))
            yield batch

    with monkeypatch.context() as patched:
        patched.setattr(encode, "in_batches", counted)
        run(context)
    return sum(encoded)


# (the part: of train's two, then of wild's three; what is left of it; images that then remain)
KILLS = [(0, 0.0, 32), (1, 0.5, 24), (3, 0.9, 12), (4, 1.0, 0)]


@pytest.mark.parametrize(("part", "left", "remaining"), KILLS)
def test_a_killed_run_goes_on_behind_its_last_whole_part_and_ends_the_same(
    tmp_path, monkeypatch, whole, part, left, remaining
):
    context = context_of(tmp_path)
    kill_at(monkeypatch, context, part, left)
    assert resume(monkeypatch, context) == remaining
    assert files(context) == whole[2]


@pytest.mark.parametrize(("joined", "remaining"), [(False, NUM_CODES), (True, NUM_CODES + PART)])
def test_a_run_killed_while_parts_are_joined_or_removed_joins_them_again(
    tmp_path, monkeypatch, whole, joined, remaining
):
    context, join = context_of(tmp_path), encode._join

    def interrupted(parts, path, count):
        if joined:
            second = parts[1].read_bytes()
            join(parts, path, count)
            parts[1].write_bytes(second)  # it was not removed yet
        else:
            # as the file of a memory map looks before anything was written to it
            np.save(path, np.zeros_like(encode.train_codes(whole[0])))
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(encode, "_join", interrupted)
        with pytest.raises(Killed):
            run(context)
    assert resume(monkeypatch, context) == remaining
    assert files(context) == whole[2]


@pytest.mark.slow
def test_refined_codes_decode_better_under_the_settings_of_the_config(tmp_path, monkeypatch):
    fields = {"refine_steps": 3, "refine_learning_rate": 0.05, "gamma_domain": 0.2}
    context = context_of(
        tmp_path,
        encoder__gamma1=2.0,
        **{f"encode__{name}": value for name, value in fields.items()},
    )
    settings, refine = [], encode.refine

    def recorded(*arguments, **named):
        settings.append(named)
        return refine(*arguments, **named)

    monkeypatch.setattr(encode, "refine", recorded)
    images = data.split(context, "train").image[:SIZE]
    found = encode.encode_images(context, images)
    terms = Reconstruction(2.0, 0.0, "l2")
    assert settings == [
        {"steps": 3, "learning_rate": 0.05, "gamma_domain": 0.2, "reconstruction": terms}
    ]
    generator_, params = shift.load(context)
    decode = jax.jit(generator_.synthesize)
    before, after = (
        ((to_float(images) - decode(params, codes)) ** 2).mean((1, 2, 3))
        for codes in (codes_of(context, images), found)
    )
    assert np.all(after < before)
