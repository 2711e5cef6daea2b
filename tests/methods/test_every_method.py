"""What every method promises of a training step, in one table: float64, one program for each."""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytest

from natra_jax import methods
from natra_jax.training.step import make_step
from tests.methods import made
from tests.training import small

OPTIMIZER = optax.sgd(0.1)
NAMES = [
    name for name in made.NAMES if name != "random_long"
]  # which is random, trained for longer
ADAPTIVE = {"natra", "natra_paper", "natra+advbn"}
INDEX = np.random.default_rng(2).permutation(small.NUM_EXAMPLES)[:16]
# the same 16 examples in two batches of 8, twice: whole groups of AdvBN change their company, or
# every example does
BY_GROUP = (INDEX[[0, 1, 2, 3, 8, 9, 10, 11]], INDEX[[4, 5, 6, 7, 12, 13, 14, 15]])
BY_EXAMPLE = (INDEX[0::2], INDEX[1::2])
IN_ORDER = (INDEX[:8], INDEX[8:])


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


class Run(NamedTuple):
    """One step on one batch, as NumPy arrays."""

    batch: Any
    state: Any
    metrics: Any
    seen: Any  # what the method made: 'vary', 'perturb'


class Outcome(NamedTuple):
    name: str
    method: Any
    before: Any  # the state that every run starts from
    runs: list[Run]  # IN_ORDER
    regrouped: list[Run]
    traces: int


@pytest.fixture(scope="module", params=NAMES)
def outcome(request, float64):
    name, traced = request.param, []
    method = made.method(name, dtype=np.float64, advmix__source="other")
    step = make_step(small.builder("batch"), OPTIMIZER, None, clean_ratio=small.CLEAN_RATIO)

    @jax.jit
    def run(method, state, batch):
        traced.append(name)
        seen = {}
        return *step(made.tapped(method, seen), state, batch), seen

    before = made.ready(small.state(OPTIMIZER, "batch", np.float64), method)

    def results(batches):
        for index in batches:
            batch = made.batch(index, method.partners, np.float64)
            state, metrics, seen = run(method, before, batch)
            yield Run(batch, *jax.tree.map(np.asarray, (state._replace(key=()), metrics, seen)))

    again = BY_GROUP if method.perturb is not None else BY_EXAMPLE
    runs, regrouped = list(results(IN_ORDER)), list(results(again))
    return Outcome(
        name,
        method,
        jax.tree.map(np.asarray, before._replace(key=())),
        runs,
        regrouped,
        len(traced),
    )


@jax.jit
def training_pass(params, batch_stats, images):
    """Logits and new statistics of one pass with the batch's own statistics."""
    network = small.builder("batch")(None)
    return network.apply(
        {"params": params, "batch_stats": batch_stats}, images, train=True, mutable=["batch_stats"]
    )


def cross_entropies(logits, targets):
    shifted = logits - logits.max(1, keepdims=True)
    return -(targets * (shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))).sum(1)


def leaves(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def test_losses_are_finite_and_the_update_moves_the_weights(outcome):
    for run in outcome.runs:
        assert all(np.isfinite(value) for value in run.metrics.values())
        assert all(
            np.isfinite(leaf).all()
            for leaf in jax.tree.leaves((run.state.params, run.state.batch_stats))
        )
        assert run.state.step == outcome.before.step + 1
        before, after = leaves(outcome.before.params), leaves(run.state.params)
        moved = {name for name in after if np.any(before[name] != after[name])}
        assert any("Dense" in name and "adversarial" not in name for name in moved)


def test_another_batch_needs_no_other_program(outcome):
    assert outcome.traces == 1


def check_one_pass(outcome):
    """Statistics and loss are those of one pass over clean images and variations."""
    for run in outcome.runs:
        images, labels = run.batch["image"], run.batch["label"]
        if "vary" in run.seen:
            images = np.concatenate([images, run.seen["vary"].inputs])
        logits, updated = training_pass(outcome.before.params, outcome.before.batch_stats, images)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9),
            run.state.batch_stats,
            updated["batch_stats"],
        )
        clean, varied = np.split(np.asarray(logits), [len(labels)])
        loss = cross_entropies(clean, np.eye(small.NUM_CLASSES)[labels]).mean()
        if "vary" in run.seen:
            loss = (
                small.CLEAN_RATIO * loss
                + (1 - small.CLEAN_RATIO) * cross_entropies(varied, run.seen["vary"].targets).mean()
            )
        np.testing.assert_allclose(run.metrics["loss"], loss, rtol=1e-9)
        assert run.metrics["accuracy"] == (clean.argmax(1) == labels).mean()


def check_trunk_is_still(outcome):
    """Weights and statistics before the AdvBN layer keep every bit.

    Those behind it move, the auxiliary BatchNorm apart from the clean one.
    """
    head = ("BatchNorm_2", "Dense_0")
    for run in outcome.runs:
        for collection in ("params", "batch_stats"):
            before, after = (
                leaves(getattr(outcome.before, collection)),
                leaves(getattr(run.state, collection)),
            )
            assert set(before) == set(after)
            for name, leaf in after.items():
                assert np.array_equal(leaf, before[name]) != any(layer in name for layer in head), (
                    name
                )
        after = leaves(run.state.batch_stats)
        assert np.any(
            after["['BatchNorm_2']['mean']"] != after["['adversarial']['BatchNorm_2']['mean']"]
        )
        assert run.metrics["feature_attack_success"] == run.seen["perturb"][1].mean()


def test_the_search_leaves_batchnorm_alone_and_fine_tuning_the_whole_trunk(outcome):
    if outcome.method.perturb is None:
        check_one_pass(outcome)
    else:
        check_trunk_is_still(outcome)


def test_a_variation_depends_on_its_own_example_and_not_on_those_beside_it(outcome):
    def by_example(runs):
        kinds = {"vary": lambda v: (v.inputs, v.targets, v.epsilon), "perturb": lambda p: p}
        found = {}
        for run in runs:
            for kind, made_of in run.seen.items():
                parts = kinds[kind](made_of)
                found |= {
                    (kind, i): [part[place] for part in parts]
                    for place, i in enumerate(run.batch["index"])
                }
        return found

    once, again = by_example(outcome.runs), by_example(outcome.regrouped)
    assert set(once) == set(again) and len(once) == 16 * len(outcome.runs[0].seen)
    for example, parts in once.items():
        for a, b in zip(parts, again[example], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    # while no two examples get the same
    if once:
        flat = np.stack(
            [
                np.ravel(parts[0])
                for (kind, _), parts in once.items()
                if kind == list(outcome.runs[0].seen)[-1]
            ]
        )
        assert len(np.unique(np.round(flat, 9), axis=0)) == 16


def test_targets_are_distributions_and_images_are_images(outcome):
    for run in (run for run in outcome.runs if "vary" in run.seen):
        variation = run.seen["vary"]
        assert (
            variation.inputs.shape == run.batch["image"].shape
            and np.isfinite(variation.inputs).all()
        )
        assert np.all(variation.targets >= 0) and variation.targets.shape == (8, small.NUM_CLASSES)
        np.testing.assert_allclose(variation.targets.sum(1), 1, atol=1e-6)
        if variation.failed is not None:
            assert (
                variation.failed.dtype == bool
                and run.metrics["attack_success"] == variation.failed.mean()
            )


def test_radii_change_for_adaptive_methods_alone_and_for_the_batchs_examples_alone(outcome):
    changed = set()
    for run in outcome.runs:
        others = np.setdiff1d(np.arange(small.NUM_EXAMPLES), run.batch["index"])
        np.testing.assert_array_equal(run.state.epsilon[others], outcome.before.epsilon[others])
        changed |= set(np.flatnonzero(run.state.epsilon != outcome.before.epsilon))
    assert bool(changed) == (outcome.name in ADAPTIVE)


def test_random_long_is_random_trained_for_as_many_network_passes_as_natra():
    random, long = (methods.find(name) for name in ("random", "random_long"))
    assert long == random._replace(match_passes_of="natra") and random.match_passes_of == ""
