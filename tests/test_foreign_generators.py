"""The whole path, from the file of somebody's generator to the report: random small weights of
every family.
"""

import jax
import numpy as np
import pytest
from etils import epath

from natra_jax import pipeline, weights
from natra_jax.evaluation.records import read_records
from natra_jax.experiments import smoke
from natra_jax.weights import __main__ as command
from tests.weights import made

FIELDS = {
    "methods": ("natra",),
    "data.wild_per_image": 1,
    "encoder.steps": 2,
    "encoder.gamma2": 0.0,
    "encoder.widths": (8,),
    "classifier.widths": (8,),
    "directions.num_codes": 60,
    "directions.method": "pca",
    "directions.dim": 3,
    "directions.num": 2,
    "directions.layers": (0, 1),
    "screening.examples": 10,
    "natra.num_steps": 1,
    "train.steps": 2,
    "train.checkpoint_every": 2,
    "train.log_every": 1,
    "judge.steps": 2,
    "eval.latent_steps": 1,
    "report.examples": 2,
}
# all that reads codes another way: classes and mixtures of them, several codes an image, a shifted
# generator, directions of the prior
THOROUGHLY = {
    "methods": ("random", "mixl", "advmix", "natra_ol", "natra"),
    "encoder.num_codes": 2,
    "shift.steps": 2,
    "directions.method": "umap",
    "directions.codes": "prior",
    "advmix.layers": (0, 1),
    "advmix.num_steps": 1,
    "advmix.restarts": 1,
}


def experiment(file, **fields):
    config = smoke.get_config()
    config.generator.weights = str(file)
    config.update_from_flattened_dict(FIELDS | fields)
    return config


def run(config, workdir):
    said = []
    pipeline.run(config, str(workdir), devices=jax.devices()[:1], log=said.append)
    return said


def check(config, workdir):
    said = run(config, workdir)
    metrics = {
        (r.method, r.metric): r.value for r in read_records(epath.Path(workdir) / "records.jsonl")
    }
    measured = {
        (method, metric) for method in config.methods for metric in ("accuracy", "latent_accuracy")
    }
    assert measured | {("encoder", "reconstruction_error")} <= set(metrics)
    assert np.isfinite(list(metrics.values())).all()
    assert (workdir / "report" / "index.html").stat().st_size > 10_000
    assert any(line.startswith(f"generator: {config.generator.weights}, a ") for line in said)
    again = [
        line.removesuffix(": up to date")
        for line in run(config, workdir)
        if line.endswith(": up to date")
    ]
    assert again == [task.name for task in pipeline.tasks(config) if task.stage in pipeline.STAGES]


@pytest.mark.parametrize("family", ["stylegan2_nv", "biggan"])
def test_from_a_file_to_the_report(family, tmp_path):
    check(experiment(made.file(family, tmp_path)), tmp_path / "work")


@pytest.mark.slow
@pytest.mark.parametrize("family", made.FAMILIES)
def test_every_family_and_every_use_of_codes(family, tmp_path):
    file = made.file(family, tmp_path)
    command.main(["natra_jax.weights", str(file), str(tmp_path / "converted")])
    depth = weights.load(file)[0].depth
    fields = THOROUGHLY | {"encoder.expand_at": min(2, depth)}
    config = experiment(tmp_path / "converted", **fields)
    check(config, tmp_path / "work")
