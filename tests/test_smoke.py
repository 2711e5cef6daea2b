"""The whole path on the smoke experiment, by the command that a user types: run, run again, run
with one field changed.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

from natra_jax import pipeline
from natra_jax.evaluation.records import read_answers, read_records
from natra_jax.experiments import smoke
from natra_jax.types import Record

ROOT = Path(__file__).parents[1]
METHODS = ("original", "random", "natra")
# most of this test's time is compilation
QUICK_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
STAGES = [
    *(
        ("data", split, "majority_share")
        for split in ("train", "val_iid", "val_shift", "test_iid", "test_shift")
    ),
    ("generator", "val_iid", "reconstruction_error"),
    ("encoder", "val_iid", "reconstruction_error"),
    ("encoder", "val_iid", "perceptual_error"),
    ("screening", "train", "chosen"),
    ("directions", "val_iid", "image_moved"),
    ("directions", "val_shift", "image_moved"),
]
SIZES = {"val_iid": 240, "val_shift": 240, "test_iid": 597, "test_shift": 597}


def command(workdir, *arguments, module="natra_jax.main"):
    """The lines that a successful run prints."""
    environment = {name: value for name, value in os.environ.items() if name != "NPROC"} | {
        "XLA_FLAGS": QUICK_TO_COMPILE
    }
    line = [
        sys.executable,
        "-m",
        module,
        "--config=experiments/smoke.py",
        f"--workdir={workdir}",
        *arguments,
    ]
    answer = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout.splitlines()


def contents(workdir):
    return {
        path.relative_to(workdir).as_posix(): path.read_bytes()
        for path in workdir.rglob("*")
        if path.is_file()
    }


def skipped(lines):
    return [line.removesuffix(": up to date") for line in lines if line.endswith(": up to date")]


def check_record(record, commits):
    """A record of a classifier: a share of known images, inside its interval, stamped by the piece
    that made it.
    """
    assert isinstance(record, Record) and record.seed == 0
    # of the images that the judge cannot read, it cannot say whether they keep their label
    assert (
        record.n < SIZES[record.split]
        if record.metric == "label_kept"
        else record.n == SIZES[record.split]
    )
    assert 0 <= record.low <= record.value <= record.high <= 1 and record.low < record.high
    assert math.isclose(record.value * record.n, round(record.value * record.n), abs_tol=1e-6)
    assert record.fingerprint == commits[f"evaluate/{record.method}-0"]


def test_smoke(tmp_path):
    workdir = tmp_path / "smoke"
    config = smoke.get_config()
    work = [task.name for task in pipeline.tasks(config) if task.stage in pipeline.STAGES]
    lines = command(workdir, module="tests.recorded")  # no task reads what it does not declare
    assert not skipped(lines)

    # every piece is done, and says of what
    files = contents(workdir)
    commits = {name: json.loads(files[f"{name}/COMMIT"])["fingerprint"] for name in work}
    assert len(set(commits.values())) == len(work)
    assert json.loads(files["config.json"])["name"] == "smoke"

    # what was measured
    records = read_records(workdir / "records.jsonl")
    assert len(records) == len(files["records.jsonl"].splitlines())
    stages = [
        record
        for record in records
        if record.method in ("data", "generator", "encoder", "screening")
        or record.metric == "image_moved"
    ]
    assert [(record.method, record.split, record.metric) for record in stages] == STAGES
    assert all(
        0 < record.value <= config.directions.num and record.low is record.high is None
        for record in stages
    )
    costs = {record.method: record for record in records if record.metric == "passes"}
    assert costs.keys() == set(METHODS)
    # of original, a forward and a backward pass of each example of a batch, in each step
    steps = config.train.steps * config.train.batch_size
    assert costs["original"].value == 3 * steps / costs["original"].n
    assert costs["original"].value < costs["random"].value < costs["natra"].value
    evaluated = [r for r in records if r not in stages and r.metric != "passes"]
    for record in evaluated:
        check_record(record, commits)
    views = f"worst{config.data.renderings}"
    on_images = {
        (method, split, metric)
        for method in (*METHODS, "oracle")
        for split in SIZES
        for metric in ("accuracy", views)
    }
    latent = {
        (m, s, metric)
        for m in METHODS
        for s in ("val_iid", "test_iid")
        for metric in ("latent_accuracy", "latent_label_kept")
    }
    latent |= {
        ("directions", split, metric)
        for split in ("val_iid", "val_shift")
        for metric in ("label_read", "label_kept")
    }
    values = {(record.method, record.split, record.metric): record.value for record in evaluated}
    assert set(values) == on_images | latent and len(values) == len(evaluated)
    for method in METHODS:
        for split in SIZES:
            assert values[method, split, views] <= values[method, split, "accuracy"] + 0.1

    # the shares are of the answers that were kept, example by example
    answers = read_answers(workdir / "evaluate" / "natra-0" / "answers.npz")
    own = [record for record in evaluated if record.method == "natra"]
    assert set(answers) == {(r.method, r.seed, r.split, r.metric) for r in own}
    for r in own:
        assert answers[r[:4]].mean() == r.value and len(answers[r[:4]]) == r.n

    # what people look at
    page, text = files["report/index.html"].decode(), files["report/report.md"].decode()
    for written in (page, text):
        assert "smoke" in written and all(method in written for method in METHODS)
    assert page.lstrip().lower().startswith("<!doctype html") and page.rstrip().endswith("</html>")
    assert str(workdir / "report" / "index.html") in lines[-1]
    history = json.loads(files["train/natra-0/history.json"])
    assert [entry["step"] for entry in history] == [5, 10, 15, 20] and {
        "loss",
        "accuracy",
        "epsilon",
        "attack_success",
    } <= set(history[0])

    # again: nothing to do, and nothing touched
    assert skipped(command(workdir)) == work
    assert contents(workdir) == files

    # one field of the report changed
    lines = command(workdir, "--config.report.examples=2")
    assert skipped(lines) == [name for name in work if name != "report"]
    assert any("report.examples: 3 -> 2" in line for line in lines)
    after = contents(workdir)
    for name, content in after.items():
        if name != "config.json" and not name.startswith("report/"):
            assert content == files[name], name
    assert json.loads(after["report/COMMIT"])["fingerprint"] != commits["report"]
    assert after["report/index.html"] != files["report/index.html"] and set(after) == set(files)
