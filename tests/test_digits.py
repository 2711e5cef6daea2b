"""The default experiment as a user runs it: minutes long, so marked slow."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_natra_repairs_a_classifier_that_reads_colour(tmp_path):
    workdir = tmp_path / "digits"
    subprocess.run([sys.executable, "-m", "natra_jax.main", f"--workdir={workdir}"], check=True)
    records = [json.loads(line) for line in (workdir / "records.jsonl").read_text().splitlines()]
    value = {(r["method"], r["split"], r["metric"]): r["value"] for r in records}
    assert value["original", "test_iid", "accuracy"] > 0.98
    assert value["original", "test_shift", "accuracy"] < 0.2
    assert value["natra", "val_iid", "accuracy"] >= 0.93
    assert value["natra", "val_shift", "accuracy"] >= 0.85
    assert value["natra", "test_shift", "worst16"] > value["random", "test_shift", "worst16"]
