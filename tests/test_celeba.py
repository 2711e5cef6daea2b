"""CelebA's experiment from the publisher's archive to the report: imported, encoded by a StyleGAN's
checkpoint, and trained on.

Everything is tiny: the generator's 16 pixels, 200 images of noise, two steps of each training. All
methods of the experiment, with its VGG-16 and UMAP, are for the slow tests.
"""

from pathlib import Path

import jax
import pytest

from natra_jax import pipeline
from natra_jax.data import importing
from natra_jax.evaluation.records import read_records
from natra_jax.experiments import celeba
from tests.data import archives
from tests.weights import made

COUNT = 200
QUICK = ("original", "natra")


def config(folder: Path, whole: bool):
    c = celeba.get_config()
    if not whole:
        c.methods, c.classifier.name, c.classifier.widths = QUICK, "cnn", (8, 8)
        c.encoder.gamma2, c.directions.method = 0.0, "pca"
    c.data.path = str(folder / "data")
    c.generator.weights = str(made.file("stylegan1", folder))
    c.encoder.update(widths=(4, 4), hidden=8, steps=2, batch_size=4)
    c.shift.update(steps=2, batch_size=4)
    c.encode.batch_size = c.eval.batch_size = 50
    c.directions.update(num_codes=40, num=2, dim=4, layers=(4, 0))
    c.advmix.layers = (4, 0)
    c.screening.update(judge="none", examples=10, multiples=(1.0,))
    c.natra.num_steps = c.adv.num_steps = 1
    c.classifier.dtype = "float32"
    c.classifier.vgg16.update(widths=(2, 2, 2, 2, 2), dense=())
    c.train.update(steps=2, batch_size=8, checkpoint_every=2, log_every=1)
    c.judge.steps = 2
    c.eval.update(examples=10, latent_steps=1)
    c.report.examples = 2
    return c


@pytest.fixture(
    scope="module",
    params=[False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["quick", "whole"],
)
def finished(tmp_path_factory, request):
    """(work directory, config, what was said)."""
    folder, said = tmp_path_factory.mktemp("celeba"), []
    archives.celeba(folder / "downloads", COUNT)
    importing.from_files(
        "celeba", folder / "downloads", folder / "data", "celeba", lambda line: None
    )
    c = config(folder, request.param)
    pipeline.run(c, str(folder / "work"), devices=jax.devices()[:1], log=said.append)
    return folder / "work", c, said


def facts(split):
    """What the archive's tables say of the images of a split."""
    every = (archives.celeba_facts(image) for image in archives.celeba_images(COUNT))
    return [one for one in every if one["split"] == split]


def every_stage_is_done_and_where_natra_ol_is_trained_what_it_needs_of_its_own(finished):
    work, c, _ = finished
    done = {path.parent.relative_to(work).as_posix() for path in work.rglob("COMMIT")}
    latent = {"encoder", "shift", "encode", "directions", "screen"}
    assert done >= {"data", "generator", "judge", "report"} | latent | {
        f"train/{method}-0" for method in c.methods
    }
    assert {f"{name}-ol" for name in latent} <= done or "natra_ol" not in c.methods


def every_method_has_its_accuracy_on_the_publishers_splits(finished):
    work, c, _ = finished
    records = read_records(work / "records.jsonl")
    found = {(r.method, r.split): r for r in records if r.metric == "accuracy"}
    sizes = {
        ours: len(facts(theirs))
        for ours, theirs in {"val_iid": "validation", "test_iid": "test"}.items()
    }
    assert {key: r.n for key, r in found.items()} == {
        (m, split): n for m in (*c.methods, "judge") for split, n in sizes.items()
    }
    assert all(0 <= r.value <= 1 for r in found.values())
    attacked = {(r.method, r.split) for r in records if r.metric == "latent_accuracy"}
    assert attacked == {(m, split) for m in c.methods for split in sizes}


def the_label_is_whether_the_face_smiles(finished):
    work, _, said = finished
    smiling = sum(one["attributes"]["Smiling"] for one in facts("train"))
    both = sorted((smiling, len(facts("train")) - smiling))
    assert any(
        line.startswith(f"data: train {sum(both)} images of 2 classes ({both[0]} to {both[1]} each")
        for line in said
    )
    assert '"not Smiling"' in (work / "data" / "facts.json").read_text()


def the_report_has_a_row_for_every_method_and_what_the_directions_do(finished):
    work, c, _ = finished
    for name in ("index.html", "report.md"):
        written = (work / "report" / name).read_text()
        assert all(
            shown in written
            for shown in (*c.methods, "judge", "Reconstructions", "What each direction does")
        )


def test_from_the_archive_to_the_report(finished):
    """In one test, so that parallel runs go through the experiment once."""
    checks = (
        every_stage_is_done_and_where_natra_ol_is_trained_what_it_needs_of_its_own,
        every_method_has_its_accuracy_on_the_publishers_splits,
        the_label_is_whether_the_face_smiles,
        the_report_has_a_row_for_every_method_and_what_the_directions_do,
    )
    for check in checks:
        check(finished)
