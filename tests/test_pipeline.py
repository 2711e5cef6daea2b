"""The pipeline: which tasks depend on which, are skipped, run again, and go on after a kill."""

import json
from fnmatch import fnmatch
from functools import partial
from operator import attrgetter

import jax
import pytest

from natra_jax import methods, pipeline
from natra_jax.classifiers import CLASSIFIERS
from natra_jax.config import flatten
from natra_jax.experiments import smoke
from natra_jax.stages.task import EXECUTION, Task
from natra_jax.types import Record, UserError
from tests.data import photos

METHODS = (*methods.METHODS, "augment+advbn", "natra+advbn")
HEAD = "PK\x03\x04"  # by which a file may be weights


def config(**fields):
    """Return the smoke experiment with all methods; double underscores stand for dots."""
    experiment = smoke.get_config()
    experiment.methods = METHODS
    experiment.encoder.gamma2 = 0.0
    for name, value in fields.items():
        experiment.update_from_flattened_dict({name.replace("__", "."): value})
    return experiment


def work_of(**fields):
    return {task.name: task for task in pipeline.tasks(config(**fields))}


def everything_read_by(work, name):
    """Return the names of all tasks that the named one reads, and those read, ..."""
    return {name}.union(*(everything_read_by(work, need) for need in work[name].depends_on))


VARIANTS = [
    {},
    {"seeds": (0, 3, 1)},
    {"methods": ("natra",)},
    {"encoder__gamma2": 0.1},
    {"generator__weights": "package:digits"},
    {"generator__transfer_from": "package:digits"},
    {"directions__codes": "prior"},
    {"train__init_from": "natra"},
    {"methods": ("natra+advbn", "advbn"), "seeds": (0, 1)},
    {"eval__thorough": True},
    {"export__method": "natra+advbn"},
    {"classifier__factory": "tests.classifiers.own:plain", "encoder__gamma2": 0.1},
    {"screening__judge": "cross_fitted"},
    {"encoder__codes": "w"},
]


@pytest.mark.parametrize("fields", VARIANTS)
def test_every_task_comes_after_all_that_it_reads_and_belongs_to_a_stage(fields):
    work = pipeline.tasks(config(**fields))
    names = [task.name for task in work]
    assert len(set(names)) == len(names)
    for i, task in enumerate(work):
        assert set(task.depends_on) <= set(names[:i])
        assert task.stage in (*pipeline.STAGES, *pipeline.ON_REQUEST)
    stages = list(dict.fromkeys(task.stage for task in work))
    assert stages == [*pipeline.STAGES, *pipeline.ON_REQUEST]


@pytest.mark.parametrize("fields", VARIANTS)
def test_nothing_that_training_reads_depends_on_the_judge(fields):
    work = work_of(**fields)
    trained = [name for name in work if name.startswith("train/")]
    assert trained
    for name in [*trained, "generator", "encoder", "shift", "encode", "directions", "screen"]:
        read = everything_read_by(work, name)
        assert not any(task.startswith(("judge", "evaluate", "report", "export")) for task in read)
        assert not any(
            field.startswith(("judge.", "eval.", "report.", "export."))
            for task in read
            for field in work[task].fields
        )


def test_every_field_that_shapes_a_result_belongs_to_a_task(tmp_path):
    (tmp_path / "vgg16.pth").write_text(HEAD)
    perceptual = {
        "encoder__perceptual": "vgg16",
        "encoder__perceptual_weights": str(tmp_path / "vgg16.pth"),
    }
    variants = [
        *({"classifier__name": name} for name in CLASSIFIERS),
        perceptual,
        {"eval__extra_splits": (f"more={tmp_path}",)},
        {"generator__transfer_from": "package:digits"},
    ]
    works = [work_of(encoder__gamma2=0.1, eval__thorough=True, **variant) for variant in variants]
    used = {field for work in works for task in work.values() for field in task.fields}
    unused = set(flatten(config())) - used
    of_checkpoints = {f"generator.{name}" for name in ("family", "truncation", "dtype")}
    on_what_it_runs = set(EXECUTION)
    said = {f"obtain.{what}" for what in ("data", "weights", "classifier")}
    assert unused == on_what_it_runs | said | of_checkpoints


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return (**fields) -> names of the tasks that ran; each only writes its fingerprint."""
    monkeypatch.setattr(pipeline.report, "summary", lambda context: "")
    monkeypatch.setattr(pipeline.sizes, "require", lambda context, tasks: None)
    monkeypatch.setattr(pipeline.train, "check", lambda context: None)
    monkeypatch.setattr(pipeline.train.classifier, "check", lambda context: None)
    monkeypatch.setattr(pipeline.perceptual, "check", lambda context: None)
    real = pipeline.tasks

    def stubs(ran, experiment, found=None, inputs=None):
        def work(context, directory, name):
            ran.append(name)
            (directory / "made").write_text(context.fingerprints[name])

        declared = real(experiment, found, inputs)
        return [task._replace(run=partial(work, name=task.name)) for task in declared]

    def run(stages=pipeline.STAGES, said=None, **fields):
        ran = []
        monkeypatch.setattr(pipeline, "tasks", partial(stubs, ran))
        log = (lambda line: None) if said is None else said.append
        pipeline.run(
            config(**fields),
            str(tmp_path / "work"),
            devices=jax.devices()[:1],
            stages=stages,
            log=log,
        )
        return ran

    return run


LATENT = ["train/random*", "train/corner*", "train/natra*"]  # along directions
# by natra's search, or for as long as that takes
SEARCHED = [
    *("*/random_long-0", "*/corner_long-0"),
    *("*/natra-0", "*/natra_ol-0", "*/natra_oa-0", "*/natra+advbn-0*"),
]
MIXED = ["train/mixl-0", "train/randmix-0", "train/advmix-0"]  # of codes
ENCODED = ["encode", "encode-ol", "directions*", "screen*"]  # with and without expansion
# all but the judge and what is of images alone
EVALUATED = [f"evaluate/{name}-0" for name in (*METHODS, "directions")]
EVALUATED.append("evaluate/natra+advbn-0-decoder")
CHANGES = {
    # field: (value, what runs again)
    "eval__latent_steps": (3, ["evaluate/*-0", "report"]),
    "eval__batch_size": (100, ["evaluate/*-0", "report"]),
    "judge__steps": (21, ["judge", "evaluate/*-0", "report"]),
    "decoder__steps": (3, ["evaluate/*-decoder", "report"]),
    "report__examples": (4, ["report"]),
    "adv__epsilon": (0.1, ["train/adv-0", "evaluate/adv-0", "report"]),
    "natra_oa__epsilon": (1.0, ["train/natra_oa-0", "evaluate/natra_oa-0", "report"]),
    "natra_paper__rho": (0.7, ["train/natra_paper-0", "evaluate/natra_paper-0", "report"]),
    "natra__rho": (
        0.7,
        [
            *("*/random_long-0", "*/corner_long-0", "*/natra-0", "*/natra_ol-0"),
            *("*/natra+advbn-0*", "report"),
        ],
    ),
    "natra__kappa": (5.0, [*SEARCHED, "report"]),
    "natra__search": ("per_direction", [*SEARCHED, "report"]),
    "random__kind": ("normal_w", ["*/random-0", "*/random_long-0", "report"]),
    "mixup__alpha": (0.5, ["*/mixi-0", "*/mixl-0", "report"]),
    "advmix__epsilon": (0.1, ["*/advmix-0", "report"]),
    "advmix__source": ("other", ["*/randmix-0", "*/advmix-0", "report"]),
    "augment__cutout": (2, ["*/augment-0", "*/augment+advbn-0*", "report"]),
    "advbn__steps": (31, ["*/*advbn-0*", "report"]),
    "advbn__epsilon": (0.5, ["*/*advbn-0*", "report"]),
    "eval__worst_steps": (3, []),
    "export__epsilon": (1.0, []),
    "natra__truncation": (
        1.5,
        ["screen*", *LATENT, "evaluate/*-0", "evaluate/natra+advbn-0-decoder", "report"],
    ),
    "natra__epsilon_max": (1.5, ["screen*", *LATENT, *EVALUATED, "report"]),
    "directions__num": (3, ["directions*", "screen*", *LATENT, *EVALUATED, "report"]),
    "directions__seed": (1, [*ENCODED, *LATENT, *MIXED, *EVALUATED, "report"]),
    "screening__choose": ("0,1", ["screen*", *LATENT, *EVALUATED, "report"]),
    "screening__judge": ("cross_fitted", ["folds", "screen*", *LATENT, *EVALUATED, "report"]),
    "shift__steps": (3, ["shift*", *ENCODED, *LATENT, *MIXED, *EVALUATED, "report"]),
    "encode__refine_steps": (3, [*ENCODED, *LATENT, *MIXED, *EVALUATED, "report"]),
    "train__steps": (30, ["train/*", "judge", "evaluate/*", "report"]),
    "classifier__norm": ("batch", ["train/*", "judge", "evaluate/*", "report"]),
    "classifier__factory": (
        "tests.classifiers.own:plain",
        ["train/*", "judge", "evaluate/*", "report"],
    ),
    "train__failures_only": (True, ["train/*", "judge", "evaluate/*", "report"]),
    # advbn starts there anyway
    "train__init_from": (
        "original",
        [
            *(f"*/{method}-0*" for method in METHODS if method not in ("original", "advbn")),
            "report",
        ],
    ),
    "encoder__hidden": (
        16,
        ["encoder*", "shift*", *ENCODED, *LATENT, *MIXED, *EVALUATED, "report"],
    ),
    "generator__steps": (
        21,
        ["generator", "encoder*", "shift*", *ENCODED, *LATENT, *MIXED, *EVALUATED, "report"],
    ),
    "data__held_out": (
        100,
        [
            *("generator", "encoder*", "shift*", *ENCODED, *LATENT, *MIXED, *EVALUATED),
            "evaluate/*-decoder",
            "report",
        ],
    ),
    "data__seed": (1, ["*"]),
    "data__threads": (3, []),
    "train__checkpoint_every": (7, []),
    "train__log_every": (
        7,
        ["train/*", *(f"evaluate/{method}-0*" for method in METHODS), "report"],
    ),
    "seeds": ((0, 1), ["train/*-1", "evaluate/*-1", "report"]),
    "methods": (("original", "natra"), ["report"]),
    "parallel": ("shard_map", []),
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_field_runs_again_what_depends_on_it_and_nothing_else(run, field):
    first = run()
    value, patterns = CHANGES[field]
    again = run(**{field: value})
    work = work_of(**{field: value})
    names = [name for name, task in work.items() if task.stage in pipeline.STAGES]
    assert again == [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]
    assert run(**{field: value}) == []
    assert set(first) == {task.name for task in pipeline.tasks(config())} - {"export"}


def test_a_decoder_is_declared_for_the_first_seed_of_each_method_that_perturbs_features():
    def decoders(**fields):
        return [name for name in work_of(**fields) if name.endswith("-decoder")]

    asked = {"methods": ("original", "advbn", "natra+advbn"), "seeds": (3, 0)}
    assert decoders(**asked) == ["evaluate/advbn-3-decoder", "evaluate/natra+advbn-3-decoder"]
    assert decoders(**asked, decoder__steps=0) == []
    assert decoders(methods=("original", "natra")) == []


def test_thorough_evaluation_is_added_to_what_is_done_and_depends_on_fields_of_its_own(run):
    run()
    thorough = [f"evaluate/{method}-0-thorough" for method in METHODS]
    assert run(eval__thorough=True) == [*thorough, "report"]
    assert run(eval__thorough=True, eval__worst_steps=3) == [*thorough, "report"]
    assert run() == ["report"], "whose figures are fewer"


def test_another_extra_split_is_measured_and_nothing_that_is_measured_already(run, tmp_path):
    def evaluated_on(split):
        work = work_of(eval__extra_splits=tuple(entries))
        return [name for name in work if name.endswith(f"test_{split}") or name == "report"]

    entries = []
    for name in ("one", "two"):
        photos.classes(tmp_path / name, {"cat": 1})
        entries.append(f"{name}={tmp_path / name}")
    run()
    assert run(eval__extra_splits=(entries[0],)) == evaluated_on("one")
    assert run(eval__extra_splits=tuple(entries)) == evaluated_on("two")
    photos.classes(tmp_path / "two", {"dog": 1})
    assert run(eval__extra_splits=tuple(entries)) == evaluated_on("two")
    assert len(evaluated_on("two")) == len(METHODS) + 3  # the split, the judge and the report
    assert run() == ["report"]


def test_the_export_runs_when_it_is_asked_for_and_depends_on_its_own_classifier(run):
    run()
    assert run(stages=["export"]) == ["export"] and run(stages=["export"]) == []
    assert run(stages=["export"], export__epsilon=1.0) == ["export"]
    assert run(stages=["export"], export__method="adv") == ["export"]
    again = run(stages=["train", "export"], export__method="adv", adv__epsilon=0.1)
    assert again == ["train/adv-0", "export"]
    work = work_of(export__method="natra+advbn", seeds=(3, 0))
    assert "train/natra+advbn-3" in work["export"].depends_on
    read = everything_read_by(work, "export")
    assert not any("judge" in name or "evaluate" in name for name in read)


def test_a_fine_tuning_depends_on_the_training_that_it_starts_from_be_that_asked_for_or_not(run):
    def only(prefix, names):
        return [name for name in names if name.startswith(prefix)]

    asked = {"methods": ("natra+advbn",), "seeds": (0, 2)}
    fine_tunings = ["natra+advbn-0", "natra+advbn-2"]
    trainings = [f"train/{name}" for name in ("natra-0", "natra-2", *fine_tunings)]
    work = work_of(**asked)
    assert only("train/", work) == trainings
    measured = (*fine_tunings, "natra+advbn-0-decoder")
    assert only("evaluate/natra", work) == [f"evaluate/{name}" for name in measured]
    assert work["train/natra+advbn-2"].depends_on[-1] == "train/natra-2"
    run(**asked)
    assert only("train/", run(**asked, natra__rho=0.7)) == trainings
    again = run(**asked, natra__rho=0.7, advbn__steps=7)
    assert only("train/", again) == [f"train/{name}" for name in fine_tunings]


def test_an_encoder_with_perceptual_features_depends_on_the_classifiers_training(run):
    run(encoder__gamma2=0.1)
    assert {"perceptual", "encoder", "shift"} <= set(run(encoder__gamma2=0.1, train__steps=30))


def test_perceptual_weights_count_by_their_content_and_nothing_that_trains_counts_beside_them(
    run, tmp_path
):
    def of(name, content):
        (tmp_path / name).write_text(HEAD + content)
        return {
            "encoder__gamma2": 0.1,
            "encoder__perceptual": "vgg16",
            "encoder__perceptual_weights": str(tmp_path / name),
        }

    run(**of("a.pth", "weights"))
    assert run(**of("b.pth", "weights")) == []
    assert "perceptual" not in run(**of("b.pth", "weights"), train__steps=30, data__seed=1)
    assert {"perceptual", "encoder", "shift"} <= set(run(**of("b.pth", "others")))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_depends_on_its_own_options_and_on_no_others(run, name):
    changes = {
        "cnn": {"classifier__widths": (8, 8, 8)},
        "vgg16": {"classifier__vgg16__dense": (8, 8)},
        "resnet18": {"classifier__resnet18__blocks": (1, 1, 1, 1)},
        "resnet50": {"classifier__resnet50__blocks": (1, 1, 1, 1)},
        "wide_resnet": {"classifier__wide_resnet__depth": 8},
    }
    chosen = {"classifier__name": name}
    run(**chosen)
    for other, change in changes.items():
        if other != name:
            assert run(**chosen, **change) == []
    assert {"judge", "train/original-0"} <= set(run(**chosen, **changes[name]))


def test_a_method_with_a_single_code_has_an_encoder_of_its_own_unless_the_experiments_is_one():
    variant = [f"{stage}-ol" for stage in ("encoder", "shift", "encode", "directions", "screen")]
    work = work_of()
    assert set(variant) <= set(work)
    latent = {"shift-ol", "encode-ol", "screen-ol"}
    assert set(work["train/natra_ol-0"].depends_on) == {"data", *latent}
    assert work["encoder-ol"].fields["encoder.codes"] == "w"
    assert work["encoder"].fields["encoder.codes"] == "w+"
    read = everything_read_by(work, "train/natra_ol-0")
    assert set(variant) <= read
    assert not {"encoder", "shift", "encode", "directions", "screen"} & read
    for other in ({"methods": ("natra",)}, {"encoder__codes": "w"}):
        assert not set(variant) & set(work_of(**other))
    assert "screen" in work_of(encoder__codes="w")["train/natra_ol-0"].depends_on


def test_what_screening_reads_counts_by_its_content(run, tmp_path):
    def file(name, content):
        (tmp_path / name).write_text(content)
        return str(tmp_path / name)

    run(screening__choose=file("a.json", "{}"))
    assert run(screening__choose=file("b.json", "{}")) == []
    assert "screen" in run(screening__choose=file("a.json", "{ }"))


def test_given_weights_depend_on_their_file_and_on_nothing_that_made_them(run):
    run(generator__weights="package:digits")
    again = run(
        generator__weights="package:digits",
        generator__steps=99,
        generator__learning_rate=0.1,
        data__renderings=3,
    )
    assert "generator" not in again and "data" in again


def test_a_checkpoint_counts_by_its_content_and_by_how_it_is_read(tmp_path):
    def task(content, **fields):
        (tmp_path / "file.pkl").write_bytes(HEAD.encode() + content)
        return work_of(generator__weights=str(tmp_path / "file.pkl"), **fields)["generator"]

    made, fields = task(b"one"), ("weights", "family", "truncation", "dtype")
    assert made.depends_on == ()
    assert set(made.fields) == {f"generator.{name}" for name in fields}
    (tmp_path / "other.pkl").write_bytes(HEAD.encode() + b"one")
    other = {"generator__weights": str(tmp_path / "other.pkl")}
    same = work_of(**other, generator__steps=7, generator__resolution=32)["generator"]
    assert same.fields == made.fields
    assert task(b"two").fields != made.fields
    assert task(b"one", generator__dtype="bfloat16").fields != made.fields
    assert task(b"one", generator__truncation=0.5).fields != made.fields


def test_a_users_own_classifier_depends_on_nothing_that_describes_ours(run):
    own = {"classifier__factory": "tests.classifiers.own:plain", "encoder__gamma2": 0.1}
    run(**own)
    again = run(**own, classifier__norm="batch")
    assert "encoder" in again, "whose perceptual features are still our classifier's"
    assert not {"judge", "train/original-0", "train/adv-0"} & set(again)


@pytest.mark.parametrize("field", ["classifier__factory", "screening__judge"])
def test_a_users_module_counts_by_its_source(run, tmp_path, monkeypatch, field):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pipeline.folds, "check", lambda context: None)
    module = tmp_path / f"brought_as_{field}.py"  # a name of its own: modules stay imported
    own = {field: f"{module.stem}:net"}
    module.write_text("from tests.classifiers.own import plain as net")
    run(**own)
    assert run(**own) == []
    module.write_text("from tests.classifiers.own import norm as net")
    again = run(**own)
    assert "train/original-0" in again if field == "classifier__factory" else "screen" in again
    assert "encoder" not in again


def test_a_training_depends_on_the_one_that_it_starts_from(run):
    work = work_of(train__init_from="adv", seeds=(0, 3))
    assert work["train/natra-3"].depends_on[-1] == "train/adv-3"
    assert not any("train" in name for name in work["train/adv-3"].depends_on)
    run(train__init_from="adv")
    again = run(train__init_from="adv", adv__epsilon=0.1)
    assert {name.split("/")[0] for name in again} == {"train", "evaluate", "report"}
    assert {f"train/{method}-0" for method in METHODS} <= set(again)


@pytest.mark.parametrize("as_directory", [False, True])
def test_a_training_depends_on_the_content_of_its_first_weights_and_not_on_their_place(
    run, tmp_path, as_directory
):
    def place(name, content):
        path = tmp_path / name / "d" / "0" if as_directory else tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEAD + content)
        return str(tmp_path / name)

    run(train__init_from=place("here", "weights"))
    assert run(train__init_from=place("there", "weights")) == []
    again = set(run(train__init_from=place("here", "others")))
    assert {f"train/{method}-0" for method in METHODS} <= again
    assert not {"encoder", "judge"} & again


def test_what_is_up_to_date_is_skipped_and_said(run):
    said, names = [], run()
    assert run(said=said) == []
    assert [line for line in said if line.strip()] == [f"{name}: up to date" for name in names]


def test_a_rerun_says_which_fields_changed_and_how(run):
    run()
    said = []
    run(said=said, judge__steps=21, train__batch_size=128)
    assert "judge: running again, judge.steps: 20 -> 21" in said
    assert "train/natra-0: running again, train.batch_size: 64 -> 128" in said


def test_a_file_altered_in_a_finished_task_runs_that_task_again(run, tmp_path):
    run()
    (tmp_path / "work" / "train" / "natra-0" / "made").write_text("0" * 16)
    assert run() == ["train/natra-0"]
    (tmp_path / "work" / "encode" / "made").unlink()
    assert run() == ["encode"]


@pytest.mark.parametrize("stage", ["train", "train.classifier", "perceptual", "folds"])
def test_what_the_user_brings_is_tried_as_soon_as_there_are_data_and_once(
    run, monkeypatch, stage, tmp_path
):
    (tmp_path / "vgg16.pth").write_text(HEAD)
    fields, tried = {}, []
    if stage == "perceptual":
        fields = {"encoder__gamma2": 0.1, "encoder__perceptual": "vgg16"}
        fields["encoder__perceptual_weights"] = str(tmp_path / "vgg16.pth")

    def check(context):
        tried.append(sorted(path.name for path in context.workdir.iterdir()))

    monkeypatch.setattr(attrgetter(stage)(pipeline), "check", check)
    run(stages=["data"], **fields)
    assert tried == []
    run(**fields)
    assert tried == [["config.json", "data", "lease.json"]]
    run(**fields)
    assert len(tried) == 1


def test_chosen_stages_run_alone_and_the_others_later(run):
    assert run(stages=["data", "judge"]) == ["data", "judge"]
    assert run(stages=["generator"]) == ["generator"]
    later = run()
    assert later[0] == "encoder" and not {"data", "generator", "judge"} & set(later)


def test_a_stage_whose_input_is_missing_says_which_stage_to_add(run, tmp_path):
    missing = "generator needs data, which is not done: add data,.*encode,directions,screen$"
    with pytest.raises(UserError, match=f"^--stages=train: {missing}"):
        run(stages=["train"])
    with pytest.raises(UserError, match=r"add data,generator,.*,train,judge,evaluate$"):
        run(stages=["report"])
    run(stages=["data", "generator", "encoder", "shift", "encode", "directions"])
    missing = "train/random-0 needs screen, which is not done: add screen$"
    with pytest.raises(UserError, match=missing):
        run(stages=["train"])
    with pytest.raises(UserError, match="screen needs folds, which is not done: add screen,judge$"):
        run(stages=["train", "evaluate"], screening__judge="cross_fitted")
    assert not (tmp_path / "work" / "train" / "random-0").exists()


def test_an_input_that_is_out_of_date_counts_as_missing(run):
    run()
    with pytest.raises(UserError, match="needs data, which is not done"):
        run(stages=["train"], data__seed=5)


class Killed(BaseException):
    """As an interrupt: nothing catches it."""


def run_in(workdir):
    """Run whatever pipeline.tasks has been made to return."""
    pipeline.run(config(), str(workdir), devices=jax.devices()[:1], log=lambda line: None)


def test_a_task_killed_halfway_is_not_done_and_goes_on_from_its_own_leftovers(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(pipeline.sizes, "require", lambda context, tasks: None)
    monkeypatch.setattr(pipeline.train, "check", lambda context: None)
    monkeypatch.setattr(pipeline.train.classifier, "check", lambda context: None)
    ran, seen = [], []

    def whole(context, directory):
        ran.append(directory.name)
        (directory / "made").write_text("made")

    def halting(context, directory, dies):
        ran.append(directory.name)
        seen.append(sorted(path.name for path in directory.iterdir() if path.name != "PENDING"))
        (directory / f"half{len(seen)}").write_text("half")
        if dies:
            raise Killed

    def run(dies, steps=1):
        dying = partial(halting, dies=dies)
        work = [
            Task("data", "data", whole, {}),
            Task("generator", "generator", dying, {"steps": steps}, ("data",)),
            Task("encode", "encode", whole, {}, ("generator",)),
        ]
        monkeypatch.setattr(pipeline, "tasks", lambda *_: work)
        ran.clear()
        run_in(tmp_path / "work")
        return list(ran)

    with pytest.raises(Killed):
        run(dies=True)
    assert ran == ["data", "generator"]
    assert not (tmp_path / "work" / "generator" / "COMMIT").exists()
    with pytest.raises(Killed):
        run(dies=True)
    assert ran == ["generator"] and seen[-1] == ["half1"]
    assert run(dies=False) == ["generator", "encode"] and seen[-1] == ["half1", "half2"]
    assert run(dies=False) == []
    with pytest.raises(Killed):
        run(dies=True, steps=2)
    assert seen[-1] == [], "another configuration's leftovers"
    assert run(dies=False, steps=1) == ["generator"]
    assert seen[-1] == [], "what was finished before is gone by now"


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """Return (run of tasks that write a record each, the methods of records.jsonl at the top)."""

    def work(context, directory, name):
        fingerprint = context.fingerprints[f"evaluate/{name}"]
        record = Record(name, 0, "val_iid", "accuracy", 0.5, 240, 0.4, 0.6, fingerprint)
        pipeline.write_records(directory / "records.jsonl", [record])

    def run(names=("a", "b")):
        tasks = [Task(f"evaluate/{n}", "evaluate", partial(work, name=n), {}) for n in names]
        monkeypatch.setattr(pipeline, "tasks", lambda *_: tasks)
        run_in(tmp_path / "work")

    top = tmp_path / "work" / "records.jsonl"
    return run, lambda: [json.loads(line)["method"] for line in top.read_text().splitlines()]


def test_the_records_of_all_tasks_are_gathered_at_the_top(evaluated):
    run, methods = evaluated
    run()
    assert methods() == ["a", "b"]
    run(("a", "b", "c"))
    assert methods() == ["a", "b", "c"]


def test_the_records_of_a_task_that_is_no_longer_asked_for_go(evaluated):
    run, methods = evaluated
    run()
    run(("b",))
    assert methods() == ["b"]


def test_the_records_are_gathered_again_where_they_are_lost(evaluated, tmp_path):
    run, methods = evaluated
    run()
    (tmp_path / "work" / "records.jsonl").unlink()
    run()
    assert methods() == ["a", "b"]


def test_a_run_killed_before_it_gathered_its_last_records_gathers_them_later(
    evaluated, monkeypatch
):
    run, methods = evaluated
    run(("a",))
    write, calls = pipeline.write_records, []

    def die_at_the_second(path, records):
        calls.append(path)
        if len(calls) == 2:
            raise Killed
        write(path, records)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(pipeline, "write_records", die_at_the_second)
        run(("a", "b"))
    run(("a", "b"))
    assert methods() == ["a", "b"]
