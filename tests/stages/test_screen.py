"""The stage screen: who judges, what is proposed, and what a user's choice changes."""

import json

import jax
import numpy as np
import pytest
from jax.tree_util import Partial

from natra_jax import config as experiment
from natra_jax import generators
from natra_jax.evaluation.records import read_records
from natra_jax.latents import saved
from natra_jax.latents.screening import Screening
from natra_jax.stages import (
    classifier,
    data,
    evaluate,
    folds,
    generator,
    judge,
    label_preservation,
    screen,
    shift,
)
from natra_jax.types import Directions, UserError
from natra_jax.weights import generator_config
from tests.stages import small

N, LAYERS, DIM = small.NUM_EXAMPLES, 4, 4
NAMES = ("first", "second", "third", "fourth")
CODES = np.random.default_rng(0).normal(size=(N, LAYERS, DIM)).astype(np.float32)
EVERY, NONE = "tests.stages.test_screen:always_the_same", "tests.stages.test_screen:hair_trigger"


def always_the_same():
    return lambda images: np.eye(7)[np.zeros(len(images), int)]


def hair_trigger():
    return lambda images: np.eye(2)[(np.abs(images).sum((1, 2, 3)) * 1e5).astype(int) % 2]


def fails():
    raise OSError("no such disk")


def one_number():
    return lambda images: images.mean((1, 2, 3))


def no_function():
    return "a string"


BROKEN = {
    "fails": "no such disk",
    "one_number": r"2 images its function returns shape \[2\]",
    "no_function": "it returned str",
}


class Fingerprints(dict):
    def __missing__(self, task):
        return "made by hand"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Write all that the stage reads, of a generator and images that are random."""
    workdir = tmp_path_factory.mktemp("work")
    context = at(workdir)
    vectors = np.zeros((4, LAYERS, DIM), np.float32)
    vectors[[0, 1, 2, 3], [0, 1, 1, 3], [0, 0, 1, 2]] = 1
    sigma, mean = np.array([1.0, 0.5, 2.0, 1.5], np.float32), np.zeros((LAYERS, DIM), np.float32)
    found = Directions(
        vectors=vectors,
        sigma=sigma,
        mean=mean,
        mask=np.abs(vectors).max(2) > 0,
        names=NAMES,
        useful=np.full(4, np.inf, np.float32),
        generator_fingerprint="made by hand",
        method="pca",
    )
    for stage in ("directions", "generator", "shift", "encode"):
        (context.workdir / stage).mkdir()
    saved.save(found, context.workdir / "directions")
    arguments = generator_config.own_arguments(context.config.generator)
    params = generators.build("style_small", arguments).init(jax.random.key(0))
    generator.save(context.workdir / "generator", "style_small", arguments, params)
    (context.workdir / "shift" / "shift.json").write_text('{"shifted": false}')
    np.save(workdir / "encode" / "train.npy", CODES)
    return workdir


def at(workdir, said=None, **fields):
    """Return the context of the work directory for an experiment with these screening fields."""
    screening = {"judge": "none", "examples": N, "multiples": (1.0, 2.0)} | fields
    c = small.config(
        generator__resolution=8,
        generator__code_dim=DIM,
        generator__base_channels=8,
        generator__max_channels=8,
        **{f"screening__{name}": value for name, value in screening.items()},
    )
    log = ([] if said is None else said).append
    return small.context(workdir, c)._replace(fingerprints=Fingerprints(), log=log)


def run(workdir, place, said=None, **fields):
    """Run the stage in workdir/screen-{place} and return (context, table, {metric: record})."""
    context = at(workdir, said, **fields)._replace(variant=f"-{place}")
    for stage in ("directions", "shift", "encode"):
        if not (linked := workdir / f"{stage}-{place}").exists():
            linked.symlink_to(workdir / stage)
    directory = context.workdir / context.task_name("screen")
    directory.mkdir()
    screen.run(context, directory)
    records = {r.metric: r for r in read_records(directory / "records.jsonl")}
    return context, screen.table(context), records


def chosen_in(table):
    return [row["name"] for row in table["directions"] if row["chosen"]]


def test_without_a_judge_all_are_chosen_without_limits_and_there_is_no_check(workdir):
    context, table, records = run(workdir, "none")
    assert screen.chosen(context).names == NAMES and np.isinf(screen.chosen(context).useful).all()
    assert chosen_in(table) == list(NAMES) and not table["box"]
    assert {row["verdict"] for row in table["directions"]} == {"unjudged"}
    assert "box_kept" not in records
    count = records["chosen"]
    assert (count.value, count.n, count.split) == (4, 4, "train")
    for row in table["directions"]:
        assert row["kept"] == {"1": None, "2": None} and row["useful"] is None
        assert row["moved"]["2"] > row["moved"]["1"] > 0 and 0 <= row["predicts"] <= 1


@pytest.mark.parametrize("kind", ["names", "file"])
def test_a_user_overrides_the_proposal_by_names_and_numbers_or_by_a_file(workdir, kind, tmp_path):
    choice = "third, 0"
    if kind == "file":
        readable = json.loads((workdir / "directions" / "directions.json").read_text())
        first, _, third, _ = readable["directions"]
        readable["directions"] = [third | {"name": "hue"}, first]
        (tmp_path / "mine.json").write_text(json.dumps(readable))
        choice = str(tmp_path / "mine.json")
    # this judge would have left none: it says nothing of what is chosen against it
    context, table, records = run(workdir, kind, judge=NONE, choose=choice)
    taken = screen.chosen(context)
    assert taken.names == (("hue" if kind == "file" else "third"), "first")
    assert np.isinf(taken.useful).all()
    np.testing.assert_array_equal(taken.sigma, [2, 1])
    assert chosen_in(table) == ["first", "third"]
    assert "does not speak for first, third" in table["box"] and not table["warnings"]
    assert records["chosen"].value == 2 and records["box_kept"].value < 0.95


def test_a_useful_range_is_kept_and_limits_the_space_that_is_trained_on(workdir):
    context, table, records = run(workdir, "useful", judge=EVERY)
    assert [row["verdict"] for row in table["directions"]] == ["kept"] * 4
    np.testing.assert_array_equal(screen.load(context).useful, 2)
    assert (records["box_kept"].value, records["box_kept"].n) == (1, N)
    assert table["box"].startswith("100.0% of 12 random moves")
    space = screen.space(context)
    center = space.anchor(jax.random.split(jax.random.key(0), N), CODES)
    far = space.project(np.full((N, 4), 9, np.float32), center, np.full(N, 9, np.float32))
    assert np.max(far) == 2 and np.min(far) >= 0


def test_nothing_left_is_said_with_verdicts_and_what_to_do_and_the_figures_are_there(workdir):
    expected = (
        r"no direction to train on \(loses_label: all 4 directions; .*screening.choose.*judge=none"
    )
    with pytest.raises(UserError, match=expected) as error:
        run(workdir, "left", judge=NONE)
    assert "\n" not in str(error.value)
    table = json.loads((workdir / "screen-left" / "screening.json").read_text())
    assert [row["useful"] for row in table["directions"]] == [0] * 4 and chosen_in(table) == []
    with pytest.raises(
        UserError, match="config field screening.choose: no direction 'fist'.*did you mean first"
    ):
        run(workdir, "typo", choose="fist")


def test_what_is_confounded_is_said_once_with_what_to_do(workdir, monkeypatch):
    def measured(*_, **__):
        return Screening(
            multiples=np.array([1.0, 2.0]),
            kept=np.ones((4, 2)),
            moved=np.zeros((4, 2)),
            predicts=np.full(4, 0.5),
            confounded=np.array([0, 1, 1, 0], bool),
            useful=np.full(4, 2.0),
            verdicts=("kept", "confounded", "confounded", "kept"),
        )

    monkeypatch.setattr(screen.screening, "screen", measured)
    said = []
    _, table, _ = run(workdir, "suspects", said, judge=EVERY)
    (warning,) = [line for line in said if "warning" in line]
    for words in ("along second, third (confounded)", "left out: if you know", "screening.choose"):
        assert words in warning
    assert table["warnings"] == [warning.partition("warning: ")[2]]
    assert chosen_in(table) == ["first", "fourth"]
    said.clear()
    run(workdir, "decided", said, judge=EVERY, choose="first,second")
    assert not [line for line in said if "warning" in line]


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_a_users_judge_is_said_in_one_line(workdir, name):
    path = f"tests.stages.test_screen:{name}"
    with pytest.raises(
        UserError, match=f"config field screening.judge is '{path}': .*{BROKEN[name]}"
    ) as error:
        folds.check(at(workdir, judge=path))
    assert "\n" not in str(error.value)


def test_a_judge_that_is_fine_passes_the_check(workdir):
    for named in ("none", "cross_fitted", EVERY):
        folds.check(at(workdir, judge=named))


WRONG = {
    "folds": (1, "at least 2"),
    "examples": (0, "at least 1"),
    "multiples": ((2.0, 1.0), "numbers that rise from above 0"),
    "keep": (1.5, "from 0 to 1"),
    "confounded": (-0.1, "from 0 to 1"),
    "judge": ("oracle", "none, cross_fitted, a path that exists, or 'package.module:function'"),
    "choose": ("nowhere/mine.json", "a .json file that exists"),
    "seed": (-1, "from 0 to 4294967295"),
}


@pytest.mark.parametrize("field", WRONG)
def test_a_wrong_field_is_said_before_anything_runs(field):
    value, wanted = WRONG[field]
    with pytest.raises(UserError, match=rf"config field screening.{field} is .*{wanted}"):
        experiment.validate(small.config(**{f"screening__{field}": value}), 1)
    for judge_ in ("none", "cross_fitted", EVERY, __file__):
        experiment.validate(small.config(screening__judge=judge_), 1)
    with pytest.raises(
        UserError, match="config field screening.judge is 'nowhere:judge': it cannot be imported"
    ):
        experiment.validate(small.config(screening__judge="nowhere:judge"), 1)


@pytest.fixture
def no_oracle(monkeypatch):
    """Make the independent judge, and what it alone may read, unavailable."""

    def unavailable(*_):
        raise AssertionError("the independent judge is for evaluation alone")

    for module, names in ((judge, ("load", "run")), (data, ("judge_split", "renderings"))):
        for name in names:
            monkeypatch.setattr(module, name, unavailable)


@pytest.fixture
def folded(workdir, no_oracle):
    """Return a context in which the cross-fitted judge is trained."""
    context = at(workdir, judge="cross_fitted")
    if not (context.workdir / "folds").exists():
        assert not (workdir / "data" / "judge_label.npy").exists()
        (context.workdir / "folds").mkdir()
        folds.run(context, context.workdir / "folds")
    return context


def weights(context, fold):
    return classifier.load(
        context.workdir / "folds" / str(fold), context.config, data.info(context)
    )


def test_every_example_is_judged_by_a_classifier_that_has_not_seen_it(folded, tmp_path):
    fold = np.load(folded.workdir / "folds" / "fold.npy")
    train = data.split(folded, "train")
    for label in range(small.CLASSES):
        assert np.bincount(fold[train.label == label]).tolist() == [2, 2]
    images = np.random.default_rng(1).uniform(-1, 1, (N, *small.SHAPE)).astype(np.float32)
    index = np.random.default_rng(2).permutation(N)
    predictions = folds.load(folded)(images, index)
    for i, at_index in enumerate(index):
        variables = weights(folded, fold[at_index])
        logits_fn = classifier.logits_fn(folded.config, small.CLASSES, variables)
        assert predictions[i] == logits_fn(images[i : i + 1]).argmax()
    # other images in fold 0 do not change the classifier that judges it, and do change the other
    again = at(tmp_path, judge="cross_fitted")
    other = np.where((fold == 0)[:, None, None, None], 255 - train.image, train.image)
    np.save(tmp_path / "data" / "train_image.npy", other)
    (again.workdir / "folds").mkdir()
    folds.run(again, again.workdir / "folds")
    jax.tree.map(np.testing.assert_array_equal, weights(again, 0), weights(folded, 0))
    changed = jax.tree.map(lambda a, b: np.abs(a - b).max(), weights(again, 1), weights(folded, 1))
    assert max(jax.tree.leaves(changed)) > 1e-4


def test_screening_by_cross_fitted_judges_needs_no_independent_one_and_comes_out_the_same_again(
    workdir, folded, no_oracle
):
    tables = [
        run(workdir, place, judge="cross_fitted", choose="0,1,2,3")[1]
        for place in ("once", "twice")
    ]
    assert tables[0] == tables[1] and "random moves" in tables[0]["box"]
    by_file = run(
        workdir, "weights", judge=str(workdir / "folds" / "1" / "classifier.npz"), choose="0,1,2,3"
    )[1]
    assert by_file["directions"][0]["moved"] == tables[0]["directions"][0]["moved"]


def test_label_kept_is_measured_on_the_validation_splits_by_the_independent_judge(
    workdir, monkeypatch
):
    context, _, _ = run(workdir, "labels")
    rng = np.random.default_rng(5)
    info = json.loads((workdir / "data" / "facts.json").read_text())
    info["splits"] = ["train", "val_iid", "test_iid", "val_shift"]
    info["counts"] = dict.fromkeys(info["splits"], info["counts"]["train"])
    (workdir / "data" / "facts.json").write_text(json.dumps(info))
    generator_, params = shift.load(context)
    codes = {
        name: rng.normal(size=(9, LAYERS, DIM)).astype(np.float32)
        for name in ("val_iid", "val_shift")
    }
    bright = np.median([generator_.synthesize(params, c).mean((1, 2, 3)) for c in codes.values()])
    for name, c in codes.items():
        images = np.full((9, *small.SHAPE), len(name), np.uint8)
        labels = np.array(generator_.synthesize(params, c).mean((1, 2, 3)) > bright, np.int32)
        labels[0] = 1 - labels[0]  # the first is labelled wrongly
        np.save(workdir / "data" / f"{name}_image.npy", images)
        np.save(workdir / "data" / f"{name}_label.npy", labels)

    def judge_logits(bright, images):
        brighter = images.mean((1, 2, 3)) - bright
        return jax.numpy.stack([-brighter, brighter], 1)

    monkeypatch.setattr(
        label_preservation.encode,
        "encode_images",
        lambda _, images: codes["val_iid" if images[0, 0, 0, 0] == 7 else "val_shift"],
    )
    monkeypatch.setattr(judge, "load", lambda _: None)
    monkeypatch.setattr(evaluate, "logits", lambda *_: Partial(judge_logits, bright))
    directory = context.workdir / "evaluate" / "directions-0"
    directory.mkdir(parents=True)
    label_preservation.run(context, directory)
    found = {(r.split, r.metric): r for r in read_records(directory / "records.jsonl")}
    assert {split for split, _ in found} == {"val_iid", "val_shift"}
    assert {r.method for r in found.values()} == {"directions"}
    for name in codes:
        assert found[name, "label_read"].value == 8 / 9 and found[name, "image_moved"].value > 0.01
        kept = found[name, "label_kept"]
        assert kept.n == 8 and 0 < kept.low < kept.value < 1
    # directions that may not be moved along
    screened = context.workdir / context.task_name("screen")
    still = saved.load(screened, "made by hand")._replace(useful=np.zeros(4, np.float32))
    saved.save(still, screened)
    label_preservation.run(context, directory)
    found = {(r.split, r.metric): r.value for r in read_records(directory / "records.jsonl")}
    assert found["val_iid", "label_kept"] == 1 and found["val_shift", "image_moved"] == 0
