"""`python -m natra_jax.weights`: what it says of a file, what it writes, and how it refuses."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from natra_jax import weights
from natra_jax.types import UserError
from natra_jax.weights import __main__ as command
from natra_jax.weights import converted
from tests.weights import made, writers

PROGRAM = "natra_jax.weights"


def facts(printed):
    return dict(line.split(maxsplit=1) for line in printed.splitlines())


@pytest.mark.parametrize("family", made.FAMILIES)
def test_a_file_of_every_family_is_described_and_converted(family, tmp_path, capsys):
    file = made.file(family, tmp_path)
    command.main([PROGRAM, str(file), str(tmp_path / "dest")])
    printed = facts(capsys.readouterr().out)
    generator, params = weights.load(file)
    assert printed["family"].startswith(f"{family} (generator {generator.family})")
    assert printed["resolution"] == "16 px" and printed["layers"].startswith(
        f"{generator.num_layers} with codes of {generator.code_dim} "
    )
    assert printed["classes"] == (str(generator.label_dim) if generator.label_dim else "none")
    assert printed["parameters"] == f"{sum(np.size(leaf) for leaf in jax.tree.leaves(params)):,}"
    assert (
        printed["checksum"] == converted.checksum(params)
        and str(tmp_path / "dest") in printed["written"]
    )
    again, restored = weights.load(tmp_path / "dest")
    assert again is generator
    jax.tree.map(np.testing.assert_array_equal, restored, params)


def test_without_a_destination_nothing_is_written(tmp_path, capsys):
    file = made.file("dcgan", tmp_path)
    command.main([PROGRAM, str(file), "--family=dcgan"])
    assert "written" not in facts(capsys.readouterr().out) and [
        path.name for path in tmp_path.iterdir()
    ] == ["dcgan"]


WRONG = {
    "no file": ([], "0 paths are given"),
    "too many": (["a", "b", "c"], "3 paths are given"),
    "missing": (["nowhere.pkl"], "nowhere.pkl"),
    "unknown family": (["FILE", "--family=dcgam"], "family"),
    "another family": (["FILE", "--family=progan"], "as progan: "),
    "unknown flag": (["FILE", "--familly=dcgan"], "familly"),
    "taken": (["FILE", "TAKEN"], "is there already: name a new directory"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_line(case, tmp_path):
    arguments, said = WRONG[case]
    file = made.file("dcgan", tmp_path)
    taken = tmp_path / "taken"
    taken.write_text("mine")
    with pytest.raises(UserError, match=said) as error:
        command.main(
            [PROGRAM, *({"FILE": str(file), "TAKEN": str(taken)}.get(a, a) for a in arguments)]
        )
    assert "\n" not in str(error.value) and taken.read_text() == "mine"


def test_the_program_ends_with_2_and_runs_nothing_that_a_file_names(tmp_path):
    ran = tmp_path / "ran"
    tensors = writers.Call(writers.Global("posix.system"), (f"touch {ran}",))
    (tmp_path / "evil.pth").write_bytes(writers.dumps({"g_ema": tensors}))
    line = [sys.executable, "-m", PROGRAM, str(tmp_path / "evil.pth"), str(tmp_path / "dest")]
    answer = subprocess.run(
        line, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"}
    )
    assert answer.returncode == 2 and answer.stdout == ""
    assert len(answer.stderr.splitlines()) == 1 and "evil.pth" in answer.stderr
    assert not ran.exists() and not (tmp_path / "dest").exists()


def test_the_card_of_what_is_written_names_the_file_but_not_where_it_lay(tmp_path):
    file = made.file("dcgan", tmp_path)
    command.main([PROGRAM, str(file), str(tmp_path / "dest")])
    card = json.loads((tmp_path / "dest" / "generator.json").read_text())
    assert card["source"] == "dcgan" and str(tmp_path) not in json.dumps(card)
