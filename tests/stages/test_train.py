"""What a training starts from, and what is kept of it."""

import json
import shutil
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from etils import epath

import natra_jax
from natra_jax import trees
from natra_jax.stages import classifier, data, evaluate, train
from natra_jax.training import pretrained
from natra_jax.types import UserError
from tests.classifiers import own
from tests.stages import small

STILL = 1e-30  # a learning rate that moves no float32 weight: a training ends where it started
MADE_BY = f"{small.OWN}:Deterministic"
IMAGES = np.random.default_rng(2).uniform(-1, 1, (5, *small.SHAPE)).astype(np.float32)


def run(workdir, c, method="original", seed=0):
    """Run a training and return the context of its work directory."""
    context = small.context(workdir, c)
    directory = context.workdir / "train" / f"{method}-{seed}"
    directory.mkdir(parents=True, exist_ok=True)
    train.run(context, directory, method, seed)
    return context


def weights(seed):
    """Return variables of the classifier of plain functions, unlike any initial ones."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: own.plain_init(small.CLASSES, jax.random.key(0), IMAGES))
    drawn = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
    return {"params": {"weights": drawn}, "batch_stats": {}}


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished training with BatchNorm and dropout."""
    return run(tmp_path_factory.mktemp("work"), small.config("Deterministic"))


def test_what_is_kept_is_the_last_state_of_the_training(trained):
    kept = train.load(trained, "original", 0)
    last = pretrained.read(
        trained.workdir / "train/original-0/checkpoints",
        classifier.variables_like(trained.config, data.info(trained)),
    )
    assert_same(kept.variables, last)
    assert kept.epsilon.shape == (small.NUM_EXAMPLES,)
    fresh = own.Deterministic(small.CLASSES).init(jax.random.key(0), IMAGES)
    assert_any_moved(kept.variables["batch_stats"], fresh["batch_stats"])


def assert_any_moved(a, b):
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    assert max(np.abs(x - y).max() for x, y in leaves) > 1e-3


def test_load_classifier_answers_as_evaluation_and_as_the_users_own_module_do(trained):
    logits_fn = natra_jax.load_classifier(str(trained.workdir), "original", 0, MADE_BY)
    kept = train.load(trained, "original", 0)
    np.testing.assert_array_equal(logits_fn(IMAGES), evaluate.logits(trained, kept)(IMAGES))
    by_itself = own.Deterministic(small.CLASSES).apply(kept.variables, IMAGES, deterministic=True)
    np.testing.assert_allclose(logits_fn(IMAGES), by_itself, rtol=1e-5, atol=1e-6)


def test_a_loaded_classifier_passes_through_jit_without_becoming_part_of_the_program(trained):
    traced = []

    @jax.jit
    def doubled(logits_fn, images):
        traced.append(images.shape)
        return 2 * logits_fn(images)

    for _ in range(2):
        logits_fn = natra_jax.load_classifier(trained.workdir, "original", 0, MADE_BY)
        other = jax.tree.map(lambda x: x + 1, logits_fn)
        assert_any_moved(doubled(logits_fn, IMAGES), doubled(other, IMAGES))
    assert len(traced) == 1


def test_what_is_loaded_does_not_follow_a_config_that_was_changed_since(trained, tmp_path):
    expected = natra_jax.load_classifier(trained.workdir, "original", 0, MADE_BY)(IMAGES)
    small.context(trained.workdir, small.config("plain"))
    np.testing.assert_array_equal(
        natra_jax.load_classifier(trained.workdir, "original", 0, MADE_BY)(IMAGES), expected
    )


@pytest.fixture
def harm(tmp_path, monkeypatch):
    """The file that the module harm, in the current directory, writes when it is run."""
    marker = tmp_path / "was-run"
    (tmp_path / "harm.py").write_text(f"open({str(marker)!r}, 'w')\nnet = None")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield marker
    sys.modules.pop("harm", None)


@pytest.mark.parametrize(
    ("named", "factory", "said"),
    [
        ("harm:net", "", "the function 'harm:net' makes, whose module would be run: if you trust"),
        ("harm:net", MADE_BY, "'harm:net' makes, and the factory that is given is 'tests."),
        ("", "harm:net", "natra_jax itself makes, and the factory that is given is 'harm:net': "),
        (["harm:net"], "", "the function ['harm:net'] makes, whose module would be run"),
        ("harm:\x1b[2J\n\u202e", "", r"the function 'harm:\x1b[2J\n\u202e' makes, whose module"),
        ({"harm": 1}, "harm:net", "and the factory that is given is 'harm:net': name the same"),
    ],
)
def test_no_module_is_imported_because_a_work_directory_names_it(
    trained, tmp_path, harm, named, factory, said
):
    work = tmp_path / "work"
    shutil.copytree(trained.workdir, work)
    path = work / "train" / "original-0" / "classifier.json"
    card = json.loads(path.read_text())
    card["classifier"] = {"factory": named, "name": "cnn"}
    path.write_text(json.dumps(card))
    with pytest.raises(UserError) as error:
        natra_jax.load_classifier(work, "original", 0, factory)
    assert str(error.value).startswith(f"{path}: is of a classifier that ")
    assert said in str(error.value) and str(error.value).isprintable()
    assert not harm.exists() and "harm" not in sys.modules


@pytest.mark.parametrize("name", ["harm", "harm:net", "Cnn", None, ["cnn"], {}])
def test_classifiers_of_ours_come_from_a_table(trained, tmp_path, harm, name):
    work = tmp_path / "work"
    shutil.copytree(trained.workdir, work)
    path = work / "train" / "original-0" / "classifier.json"
    card = json.loads(path.read_text())
    card["classifier"] = {"factory": "", "name": name}
    path.write_text(json.dumps(card))
    with pytest.raises(UserError, match="classifier.json: config field classifier.name is "):
        natra_jax.load_classifier(work, "original", 0)
    assert not harm.exists()


@pytest.mark.parametrize(("method", "seed"), [("natra", 0), ("original", 3)])
def test_a_training_that_is_not_there_is_named_with_those_that_are(trained, method, seed):
    with pytest.raises(UserError) as error:
        natra_jax.load_classifier(trained.workdir, method, seed)
    missing = f"no finished training of method {method!r} from seed {seed}"
    there = "there are original (seed 0)"
    assert str(error.value) == f"{trained.workdir}: {missing} ({there})"


def test_a_directory_that_is_no_experiments_is_refused(tmp_path):
    with pytest.raises(UserError, match="no experiment there"):
        natra_jax.load_classifier(tmp_path, "natra", 0)
    small.context(tmp_path, small.config())
    with pytest.raises(UserError, match="there is none: run the stage train"):
        natra_jax.load_classifier(tmp_path, "natra", 0)


def orbax(path):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(
            epath.Path(path), jax.tree.map(jnp.asarray, weights(1)["params"]["weights"])
        )


SOURCES = {"npz": lambda path: trees.save(epath.Path(path), weights(1)), "orbax": orbax}


@pytest.mark.parametrize("source", SOURCES)
def test_a_training_starts_from_the_users_weights(tmp_path, source):
    SOURCES[source](tmp_path / "weights")
    context = run(
        tmp_path / "work",
        small.config(train__init_from=str(tmp_path / "weights"), train__learning_rate=STILL),
    )
    assert_same(train.load(context, "original", 0).variables, weights(1))


def test_a_training_starts_from_the_named_methods_classifier_and_goes_on_from_its_own_checkpoint(
    tmp_path,
):
    c = small.config(
        methods=("adv", "original"), train__init_from="adv", train__learning_rate=STILL
    )
    context = small.context(tmp_path, c)
    for seed in (0, 1):
        directory = context.workdir / "train" / f"adv-{seed}"
        directory.mkdir(parents=True)
        np.save(directory / "epsilon.npy", np.zeros(small.NUM_EXAMPLES))
        classifier.save(
            directory, context.config, data.info(context), SimpleNamespace(**weights(seed))
        )
    run(tmp_path, c, seed=1)
    assert_same(train.load(context, "original", 1).variables, weights(1))
    # a killed training has begun from there already
    (context.workdir / "train/adv-1/classifier.npz").unlink()
    classifier.save(
        context.workdir / "train/adv-1",
        context.config,
        data.info(context),
        SimpleNamespace(**weights(7)),
    )
    run(tmp_path, c, seed=1)
    assert_same(train.load(context, "original", 1).variables, weights(1))


def test_the_method_that_others_start_from_starts_fresh():
    c = small.config(train__init_from="original")
    assert train.start(c, "original") == "" and train.start(c, "adv") == "original"
    assert train.start(small.config(train__init_from="some/path"), "original") == "some/path"


UNFIT = {
    "of another shape": lambda path: trees.save(
        path, jax.tree.map(lambda x: np.zeros((*x.shape, 2), np.float32), weights(1))
    ),
    "damaged": lambda path: path.write_bytes(b"PK\x03\x04 no more"),
}


@pytest.mark.parametrize("unfit", UNFIT)
def test_weights_that_do_not_fit_are_refused_before_anything_is_trained(tmp_path, unfit):
    path = epath.Path(tmp_path / "weights.npz")
    UNFIT[unfit](path)
    with pytest.raises(UserError, match="weights.npz: "):
        train.check(small.context(tmp_path / "work", small.config(train__init_from=str(path))))


def test_a_users_classifier_that_does_not_fit_the_data_is_refused_before_anything_is_trained(
    tmp_path,
):
    with pytest.raises(UserError, match=r"classifier.factory: .* returns shape \[2, 4\]"):
        classifier.check(small.context(tmp_path, small.config("one_class_too_many")))
