"""Several work directories as the runs of one table, by the command."""

import json

import pytest
from etils import epath
from scipy import stats

from natra_jax.evaluation.records import read_records, write_records
from natra_jax.report import __main__ as command
from natra_jax.types import Record, UserError

NATRA = ((0.9, 0.92), (0.95, 0.93), (0.88, 0.84))  # [work directory][seed]
RANDOM = ((0.8, 0.86), (0.93, 0.91), (0.8, 0.82))


def write(root, i, run=None):
    """Write a work directory's config and records."""
    path = epath.Path(root / f"run-{i}")
    path.mkdir()
    config = {"name": "digits", "seeds": [0, 1], "data": {"seed": i, "name": "digits"}}
    (path / "config.json").write_text(json.dumps(config))
    records = []
    for method, values in (("random", RANDOM[i]), ("natra", NATRA[i])):
        for seed, value in enumerate(values):
            mark = f"{method} {seed} {(run or {}).get(method, i)}"
            records.append(Record(method, seed, "train", "passes", 5.0, 9, None, None, mark))
            for metric in ("accuracy", "worst64"):
                record = Record(method, seed, "test_shift", metric, value, 597, 0.1, 1.0, mark)
                records.append(record)
    write_records(path / "records.jsonl", records)
    return str(path)


def test_work_directories_are_runs_and_their_seeds_are_averaged(tmp_path, capsys):
    paths = [write(tmp_path, i) for i in range(3)]
    command.main(["report", *paths, f"--out={tmp_path / 'out'}"])
    records = read_records(epath.Path(tmp_path / "out" / "records.jsonl"))
    worst = {(r.method, r.seed): r.value for r in records if r.metric == "worst64"}
    means = [[sum(pair) / 2 for pair in values] for values in (RANDOM, NATRA)]
    assert worst == {
        (method, i): pytest.approx(values[i])
        for method, values in zip(("random", "natra"), means, strict=True)
        for i in range(3)
    }
    test = stats.ttest_rel(*means)
    printed = capsys.readouterr().out
    assert f"p={min(2 * test.pvalue, 1):.3f}" in printed  # Holm's for accuracy and worst64
    text = (tmp_path / "out" / "report.md").read_text()
    assert "paired by run" in text and "Mean over 3 runs" in text and "- data.seed: 0; 1; 2" in text
    assert (tmp_path / "out" / "index.html").exists()


def test_the_same_run_twice_is_refused(tmp_path):
    paths = [write(tmp_path, i, {"natra": 0, "random": 0}) for i in range(2)]
    with pytest.raises(UserError, match=r"run-0 and .*run-1 hold the same trainings"):
        command.main(["report", *paths, f"--out={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()


def test_a_method_that_two_share_is_said(tmp_path):
    paths = [write(tmp_path, i, {"random": 0}) for i in range(2)]
    command.main(["report", *paths, f"--out={tmp_path / 'out'}"])
    text = (tmp_path / "out" / "report.md").read_text()
    assert "random is the same training in" in text and "natra is the same" not in text


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["a", "--out=x"], "1 work directories are named"),
        (["a", "b"], "--out=DIR is missing: say where"),
        (["a", "b", "--out="], "--out=DIR is missing: say where"),
        (["a", "b", "--out=x"], "no records of an experiment there"),
    ],
)
def test_what_cannot_be_joined_is_said(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        command.main(["report", *arguments])


@pytest.mark.parametrize(
    "config", [{"train.steps": 3}, {"data": {"a.b": 1}}, {"__class__": "me"}], ids=str
)
def test_a_config_that_is_not_of_ours_is_one_line(config, tmp_path):
    paths = [write(tmp_path, i) for i in range(2)]
    (tmp_path / "run-1" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"run-1/config\.json: is no config of ours \(") as error:
        command.main(["report", *paths, f"--out={tmp_path / 'out'}"])
    assert str(error.value).endswith(f"name another work directory than {paths[1]}")
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_what_is_printed_steers_no_terminal(tmp_path, capsys):
    paths = [write(tmp_path, i) for i in range(2)]
    command.main(["report", *paths, f"--out={tmp_path}/\x1b[2Jout"])
    *table, last = capsys.readouterr().out.splitlines()
    assert last == rf"report: {tmp_path}/\x1b[2Jout/index.html" and len(table) > 2
