"""Tasks read no config field but those that they, or tasks that they depend on, declare.

tests/conftest.py holds every run of the pipeline in these tests to that: folders (test_folder.py),
prepared data sets (test_celeba.py), generators of others (test_foreign_generators.py), the digits
(test_smoke.py), and arrays, here.
"""

import jax
import numpy as np
import pytest
from ml_collections import FrozenConfigDict

from natra_jax import pipeline
from natra_jax.data import from_arrays
from natra_jax.experiments import base
from natra_jax.stages.task import Task
from tests import recorded
from tests.recorded import Recorder
from tests.stages import small


def config():
    c = base.get_config()
    c.name, c.methods, c.generator.family = "arrays", ("original", "adv"), "none"
    c.data.name = "arrays"
    c.classifier.widths = (8,)
    c.train.update(steps=2, batch_size=4, checkpoint_every=2, log_every=1)
    c.adv.num_steps = 1
    c.judge.seed, c.eval.batch_size = 9, 8
    c.report.examples = 2
    return c


def run(workdir, said=lambda line: None):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (36, 8, 8, 3), np.uint8)
    source = from_arrays((images, np.arange(36) % 3))
    pipeline.run(config(), str(workdir), devices=jax.devices()[:1], log=said, source=source)


def test_an_experiment_on_arrays_reads_what_it_declares_and_is_done_once(tmp_path):
    run(tmp_path / "work")
    said = []
    run(tmp_path / "work", said.append)
    assert {line for line in said if "train/adv-0" in line} == {"train/adv-0: up to date"}
    assert (tmp_path / "work" / "report" / "index.html").exists()


def test_a_task_that_reads_what_nobody_declares_is_found(tmp_path):
    def below(context, directory):
        return context.config.data.seed

    def above(context, directory):
        return context.config["train"]["steps"], context.config.data.seed

    context = small.context(tmp_path, small.config())
    for fields in ({"train.steps": 2}, {"train.batch_size": 4}):
        work = [
            Task("data", "data", below, {"data.seed": 0}),
            Task("judge", "judge", above, fields, ("data",)),
        ]
        known = {task.name: task for task in work}
        recorded.run_recorded(lambda t, c: t.run(c, None), known, known["data"], context)
        if "train.steps" in fields:
            recorded.run_recorded(lambda t, c: t.run(c, None), known, known["judge"], context)
            continue
        with pytest.raises(AssertionError, match="judge reads .'train.steps'. and does not"):
            recorded.run_recorded(lambda t, c: t.run(c, None), known, known["judge"], context)


def test_reading_a_whole_section_is_reading_all_of_its_fields():
    read = set()
    recorder = Recorder(FrozenConfigDict(base.get_config().to_dict()), read)
    assert recorder.encoder.to_dict() == base.get_config().encoder.to_dict()
    assert recorder["train"].steps == base.get_config().train.steps
    assert read == {f"encoder.{name}" for name in base.get_config().encoder} | {"train.steps"}
