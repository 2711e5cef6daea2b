"""Screening against a generator whose factors are known: shape, hue and light, each in a layer of
its own.

An image is lit in every second column, or in every second row (the shape), in a colour (the hue),
more or less brightly (the light).
"""

import jax.numpy as jnp
import numpy as np
import pytest

from natra_jax import attacks
from natra_jax.latents.label_predictability import predictability
from natra_jax.latents.screening import box_kept, draws, limits, proposal, screen
from natra_jax.types import Directions, Generator

N, BATCH, SIZE = 400, 200, 8
SHAPE, HUE, LIGHT, TWIST = range(
    4
)  # the directions, and in this order the layers of the first three
SIGMA = np.array([1.0, 0.25, 0.5, 0.45])
MULTIPLES = (1.0, 2.0, 3.0)


def paint(codes):
    """codes [B, 3, 2]: [:, 0, 0] the shape by its sign, turned over where |[:, 0, 1]| > 0.8; [:,
    1, 0] turns of hue; [:, 2, 0] light.
    """
    upright = (codes[:, 0, 0] > 0) ^ (jnp.abs(codes[:, 0, 1]) > 0.8)
    columns = jnp.arange(SIZE) % 2 == 0
    lit = jnp.where(upright[:, None, None], columns[None, :], columns[:, None])[..., None]
    colour = 0.5 + 0.4 * jnp.cos(2 * jnp.pi * (codes[:, 1, :1] + jnp.arange(3) / 3))
    return lit * colour[:, None, None] * jnp.exp(0.3 * codes[:, 2, 0])[:, None, None, None]


def head(params, codes, l):
    return codes[:, :l]


def tail(params, features, codes, l):
    return paint(jnp.concatenate([features, codes[:, l:]], axis=1))


def advance(params, features, codes, l, m):
    return jnp.concatenate([features, codes[:, l:m]], axis=1)


def unused(*_):
    raise AssertionError


GENERATOR = Generator(
    "painted", 3, 3, 2, SIZE, 0, unused, unused, unused, unused, head, advance, tail
)


def known_directions(*chosen):
    vectors = np.zeros((4, 3, 2), np.float32)
    for k, place in enumerate([(0, 0), (1, 0), (2, 0), (0, 1)]):
        vectors[k][place] = 1
    mask = np.abs(vectors).max(2) > 0
    names = ("shape", "hue", "light", "twist")
    along = Directions(
        vectors, SIGMA, np.zeros((3, 2), np.float32), mask, names, np.full(4, np.inf), "painted"
    )
    chosen = list(chosen or range(4))
    return along._replace(
        names=tuple(names[k] for k in chosen),
        **{f: getattr(along, f)[chosen] for f in ("vectors", "sigma", "mask", "useful")},
    )


def known_codes(seed=0):
    """Independent factors: a shape of either kind, any hue, any light, and a twist that is never
    large enough to matter.
    """
    rng = np.random.default_rng(seed)
    shape = rng.choice([-1.0, 1.0], N) * rng.uniform(0.6, 1.4, N)
    factors = [shape, rng.uniform(-0.5, 0.5, N), rng.uniform(-1, 1, N), rng.uniform(-0.75, 0.75, N)]
    return np.stack(
        [np.stack([factors[0], factors[3]], 1)]
        + [np.stack([f, rng.normal(size=N)], 1) for f in factors[1:3]],
        1,
    ).astype("f")


CODES = known_codes()
LABELS = (CODES[:, 0, 0] > 0).astype(int)
SHORTCUT = CODES.copy()
SHORTCUT[:, 1, 0] = np.where(LABELS, 0.2, -0.2) + np.random.default_rng(1).uniform(
    -0.1, 0.1, N
)  # the hue is tied to the label


def by_shape(images, index):
    """Right about the label wherever the shape is seen, whatever the colour."""
    return (images[:, 0, 1] < images[:, 1, 0]).any(-1)


def by_hue(images, index):
    """What a classifier learns from SHORTCUT: greener or bluer."""
    return images[..., 1].sum((1, 2)) > images[..., 2].sum((1, 2))


def measure(codes, labels, judge, *chosen, **settings):
    settings = {
        "index": np.arange(N),
        "multiples": MULTIPLES,
        "seed": 0,
        "batch_size": BATCH,
    } | settings
    return screen(GENERATOR, {}, known_directions(*chosen), codes, labels, judge, **settings)


def moved(values, k, r, truncation=2.0):
    """Where a factor is when it is moved by r sigmas, but not beyond the box around the
    population.
    """
    c = values.astype(np.float64) / SIGMA[k]
    return (c + np.clip(r, np.minimum(0, -truncation - c), np.maximum(0, truncation - c))) * SIGMA[
        k
    ]


def test_the_judges_read_what_they_are_said_to():
    images = np.asarray(paint(SHORTCUT))
    np.testing.assert_array_equal(by_shape(images, None), LABELS)
    np.testing.assert_array_equal(by_hue(images, None), SHORTCUT[:, 1, 0] < 0)


def test_with_unconfounded_labels_exactly_the_factors_that_do_not_change_them_are_proposed():
    found = measure(CODES, LABELS, by_shape)
    assert [found.verdicts[k] for k in (SHAPE, HUE, LIGHT, TWIST)] == [
        "confounded",
        "kept",
        "kept",
        "loses_label",
    ]
    assert proposal(found).tolist() == [HUE, LIGHT]
    np.testing.assert_array_equal(found.kept[[HUE, LIGHT]], 1)
    np.testing.assert_array_equal(found.useful[[HUE, LIGHT]], 3)
    assert found.predicts[SHAPE] > 0.95 and found.predicts[[HUE, LIGHT, TWIST]].max() < 0.05
    np.testing.assert_array_equal(found.confounded, [True, False, False, False])


@pytest.mark.parametrize("judge", [by_hue, by_shape])
def test_a_planted_shortcut_is_called_confounded_and_neither_rejected_nor_proposed(judge):
    found = measure(SHORTCUT, LABELS, judge)
    assert (
        found.verdicts[HUE] == "confounded" and found.confounded[HUE] and found.predicts[HUE] > 0.95
    )
    assert HUE not in proposal(found) and "loses_label" not in (
        found.verdicts[HUE],
        found.verdicts[SHAPE],
    )
    assert found.verdicts[LIGHT] == "kept"
    # what the judge says of it is measured all the same, but limits nobody who knows better
    assert (found.kept[HUE].min() < 0.6) == (judge is by_hue)
    np.testing.assert_array_equal(limits(found)[[SHAPE, HUE, LIGHT]], [np.inf, np.inf, 3])


def test_without_a_judge_all_are_proposed_and_what_predicts_labels_is_still_flagged():
    found = measure(SHORTCUT, LABELS, None)
    assert found.verdicts == ("unjudged",) * 4 and proposal(found).tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(found.confounded, [True, True, False, False])
    assert (
        np.isnan(found.kept).all()
        and np.isinf(found.useful).all()
        and np.isinf(limits(found)).all()
    )
    np.testing.assert_array_equal(found.moved, measure(SHORTCUT, LABELS, by_hue).moved)


def test_without_labels_nothing_is_confounded_and_the_judge_decides():
    found = measure(SHORTCUT, None, by_shape)
    assert np.isnan(found.predicts).all() and not found.confounded.any()
    assert found.verdicts == ("loses_label", "kept", "kept", "loses_label")


@pytest.mark.parametrize("truncation", [2.0, 1.0, None])
def test_shares_and_image_changes_are_those_of_moves_inside_the_training_box(truncation):
    # half of the examples, so that no average over all of them passes
    found, half = (
        measure(CODES, None, by_shape, index=np.arange(N // 2), truncation=truncation),
        CODES[: N // 2],
    )
    cut = np.inf if truncation is None else truncation
    for m, multiple in enumerate(MULTIPLES):
        shapes, twists, lights = [], [], []
        for r in (multiple, -multiple):
            shapes.append(moved(half[:, 0, 0], SHAPE, r, cut) * half[:, 0, 0] > 0)
            twists.append(np.abs(moved(half[:, 0, 1], TWIST, r, cut)) <= 0.8)
            other = half.copy()
            other[:, 2, 0] = moved(half[:, 2, 0], LIGHT, r, cut)
            lights.append(np.asarray(paint(other) - paint(half)))
        np.testing.assert_allclose(
            found.kept[[SHAPE, TWIST], m], [np.mean(shapes), np.mean(twists)], atol=1e-12
        )
        np.testing.assert_allclose(
            found.moved[LIGHT, m], np.sqrt(np.mean(np.square(lights))), rtol=1e-4
        )


@pytest.mark.parametrize(("keep", "useful"), [(0.95, 1), (0.6, 2), (0.2, 4), (1.0, 0)])
def test_the_useful_range_is_the_largest_multiple_up_to_which_answers_are_kept(keep, useful):
    lost = {
        0: 0,
        1: 8,
        2: 80,
        3: 160,
        4: 0,
    }  # how many of 200 answers a move of so many sigmas turns, to either side
    dark = np.zeros((BATCH, 3, 2), np.float32)

    def judge(images, index):
        sigmas = np.abs(np.log(images.max((1, 2, 3)) / 0.9) / (0.3 * SIGMA[LIGHT]))
        return index < np.array([lost[x] for x in sigmas.round().astype(int)])

    found = measure(
        dark,
        None,
        judge,
        LIGHT,
        index=np.arange(BATCH),
        multiples=(1, 2, 3, 4),
        keep=keep,
        truncation=None,
    )
    np.testing.assert_array_equal(found.kept, [[0.96, 0.6, 0.2, 1]])
    assert found.useful == useful and found.verdicts == (("kept",) if useful else ("loses_label",))


def test_what_is_found_of_a_direction_depends_neither_on_the_others_nor_on_batches():
    everything = measure(SHORTCUT, LABELS, by_hue)
    some = measure(SHORTCUT, LABELS, by_hue, LIGHT, HUE)
    small = measure(SHORTCUT, LABELS, by_hue, HUE, batch_size=100)
    for name in ("kept", "moved", "predicts", "useful", "confounded"):
        np.testing.assert_array_equal(getattr(some, name), getattr(everything, name)[[LIGHT, HUE]])
        np.testing.assert_allclose(
            getattr(small, name)[0], getattr(everything, name)[HUE], rtol=1e-6
        )
    assert some.verdicts == (everything.verdicts[LIGHT], everything.verdicts[HUE])


def test_a_judge_is_told_which_examples_it_sees_and_earlier_useful_ranges_do_not_cut_the_moves():
    seen = []

    def judge(images, index):
        seen.append(index)
        return index

    index = np.random.default_rng(0).permutation(N)
    plain = measure(CODES, None, judge, LIGHT, index=index)
    assert {tuple(at) for at in seen} == {tuple(index[:BATCH]), tuple(index[BATCH:])}
    along = known_directions(LIGHT)._replace(useful=np.zeros(1))
    again = screen(
        GENERATOR,
        {},
        along,
        CODES,
        None,
        judge,
        index=index,
        multiples=MULTIPLES,
        seed=0,
        batch_size=BATCH,
    )
    np.testing.assert_array_equal(again.moved, plain.moved)
    assert plain.moved.min() > 0


@pytest.mark.parametrize("multiples", [(), (0.0, 1.0), (2.0, 1.0), (1.0, 1.0)])
def test_multiples_that_do_not_rise_are_refused(multiples):
    with pytest.raises(ValueError, match="multiples must rise from above 0"):
        measure(CODES, None, None, multiples=multiples)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"index": np.arange(0)}, "screen: 0 examples"),
        ({"batch_size": 0}, "in batches of 0"),
        ({"codes": CODES * np.nan}, "screen: codes have values that are not finite"),
        ({"labels": np.zeros(N + 1, int)}, "labels of"),
    ],
)
def test_examples_that_cannot_be_screened_are_refused(changed, complaint):
    given = {"codes": CODES, "labels": None} | changed
    with pytest.raises(ValueError, match=complaint):
        measure(given.pop("codes"), given.pop("labels"), None, **given)


def test_no_examples_are_not_moved_at_random():
    with pytest.raises(ValueError, match="draws: 0 examples"):
        box_kept(box(), CODES, by_shape, index=np.arange(0), epsilon=1.0, seed=0)


def box(useful=np.inf, norm="linf"):
    along = known_directions(HUE, SHAPE)._replace(useful=np.array([np.inf, useful]))
    return attacks.directions(GENERATOR, {}, along, truncation=2.0, norm=norm)


@pytest.mark.parametrize("useful", [np.inf, 0.7])
def test_the_random_box_is_uniform_in_the_training_space_and_counts_lost_answers(useful):
    index, radius = np.arange(N), 1.8
    settings = {"index": index, "epsilon": radius, "batch_size": BATCH}
    right = np.mean(
        [box_kept(box(useful), CODES, by_shape, seed=s, **settings) for s in range(20)], axis=0
    )
    c = CODES[:, 0, 0].astype(np.float64)  # sigma is 1
    low = np.maximum.reduce([np.full(N, -radius), np.full(N, -useful), np.minimum(0, -2 - c)])
    high = np.minimum.reduce([np.full(N, radius), np.full(N, useful), np.maximum(0, 2 - c)])
    lost = np.where(c > 0, np.maximum(0, -c - low), np.maximum(0, high + c)) / (high - low)
    assert abs(right.mean() - (1 - lost).mean()) < 4 * np.sqrt(
        (lost * (1 - lost)).mean() / (20 * N)
    )
    np.testing.assert_array_equal(right[lost == 0], 1)
    assert lost.max() > 0.05 and (lost == 0).any() == (useful < 1)


def test_a_random_move_depends_on_seed_and_example_alone_and_radius_zero_is_none():
    (at, still, first), (_, _, second) = drawn = list(
        draws(box(), CODES, index=np.arange(N), epsilon=1.0, seed=3, batch_size=BATCH)
    )
    np.testing.assert_array_equal(at, np.arange(BATCH))
    np.testing.assert_allclose(still, paint(CODES[:BATCH]), atol=1e-6)
    index = np.random.default_rng(0).permutation(N)[:BATCH]
    ((_, _, again),) = draws(box(), CODES, index=index, epsilon=1.0, seed=3, batch_size=BATCH)
    np.testing.assert_array_equal(again, np.concatenate([first, second])[index])
    ((_, _, other),) = draws(box(), CODES, index=index, epsilon=1.0, seed=4, batch_size=BATCH)
    assert np.abs(other - again).max() > 0.01 and len(drawn) == 2
    assert box_kept(box(norm="l2"), CODES, by_shape, index=index, epsilon=0.0, seed=0).all()


@pytest.mark.parametrize(("count", "classes"), [(240, 10), (500, 10), (500, 2), (240, 2)])
def test_a_coordinate_that_has_nothing_to_do_with_the_label_hardly_ever_seems_to(count, classes):
    rng = np.random.default_rng(count + classes)
    found = [
        predictability(rng.normal(size=count), np.arange(count) % classes, seed=s)
        for s in range(30)
    ]
    assert max(found) < 0.08 and np.mean(np.array(found) > 0) < 0.15


TEN = np.arange(500) % 10
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 500)
DEPENDENT = {
    "monotone": (TEN + NOISE, TEN, 0.95),
    "circular": (np.cos(2 * np.pi * (TEN + NOISE) / 10), TEN, 0.8),
    "peaks": (TEN + 0.5 * NOISE, TEN % 2, 0.95),
    "spread": ((1 + 2 * (TEN % 2)) * np.random.default_rng(1).normal(size=500), TEN % 2, 0.3),
    "a rare label": (np.where(TEN == 9, 5, 0) + NOISE, (np.arange(500) % 50 == 9).astype(int), 0.7),
    "names of labels do not matter": (TEN + NOISE, 1000 - 7 * TEN, 0.95),
    "groups of many labels": (np.arange(500) % 100 // 10 + NOISE, np.arange(500) % 100, 0.7),
}


@pytest.mark.parametrize("kind", DEPENDENT)
def test_dependence_of_any_shape_is_seen(kind):
    coordinates, labels, least = DEPENDENT[kind]
    found = predictability(coordinates, labels, seed=0)
    assert least < found <= 1
    assert predictability(np.exp(3 * coordinates), labels, seed=0) == found, (
        "only the order matters"
    )
    order = np.random.default_rng(2).permutation(500)
    assert abs(predictability(coordinates[order], labels[order], seed=0) - found) < 0.03


def test_more_noise_predicts_less():
    noise = np.random.default_rng(3).normal(size=500)
    found = [predictability(TEN + scale * noise, TEN, seed=0) for scale in (0.1, 1, 4, 100)]
    assert found == sorted(found, reverse=True) and found[0] > 0.95 and found[2] > 0.1 > found[3]


@pytest.mark.parametrize(
    ("coordinates", "labels"),
    [
        (
            np.zeros(300),
            np.repeat(np.arange(3), 100),
        ),  # all equal: the order of the examples must not leak
        (np.repeat(np.arange(2.0), 150), np.tile(np.repeat(np.arange(3), 50), 2)),
        (np.arange(300.0), np.zeros(300, int)),
        (np.arange(300.0), np.arange(300)),  # each alone with its label
        (np.arange(1.0), np.zeros(1, int)),
        (np.arange(4.0), np.array([0, 0, 1, 1])),  # too few to tell from chance
    ],
)
def test_nothing_to_predict_is_zero(coordinates, labels):
    assert predictability(coordinates, labels, seed=0) < 0.03
