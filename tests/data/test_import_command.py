"""`python -m natra_jax.data import`: what it prints, and how it refuses."""

import importlib.util
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from natra_jax.data import __main__ as command
from natra_jax.types import UserError
from tests.data import archives

PROGRAM = "natra_jax.data"


def run(*arguments):
    command.main([PROGRAM, *map(str, arguments)])


def test_the_program_imports_then_says_that_it_did_and_ends_with_2_for_another_source(
    tmp_path, capsys
):
    archives.classes(tmp_path / "photos", ["train", "test"])
    line = [
        "import",
        "folder",
        f"--source={tmp_path / 'photos'}",
        f"--dest={tmp_path / 'data'}",
        "--name=größe",
    ]
    answer = subprocess.run(
        [sys.executable, "-m", PROGRAM, *line],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    directory, config = (
        tmp_path / "data" / "größe" / "1.0.0",
        f"--config.data.name=tfds:größe --config.data.path={tmp_path / 'data'}",
    )
    assert answer.returncode == 0 and answer.stderr == ""
    assert answer.stdout == f"größe: train 4, test 4 images in {directory}: {config}\n"
    assert set(archives.read(directory)) == {"train", "test"}

    run(*line)
    assert (
        capsys.readouterr().out == "größe: is there already, of the same source: "
        f"train 4, test 4 images in {directory}: {config}\n"
    )

    (tmp_path / "photos" / "train" / "cat" / "0.jpg").unlink()
    with pytest.raises(
        UserError, match="from another source: choose another --name or --dest, or move it away"
    ):
        run(*line)


def test_a_users_mistake_is_one_line_and_exit_code_2(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        sys,
        "argv",
        [PROGRAM, "import", "celeba", f"--source={tmp_path}", f"--dest={tmp_path / 'data'}"],
    )
    with pytest.raises(SystemExit) as exit_:
        command.run()
    said = capsys.readouterr()
    assert exit_.value.code == 2 and said.out == "" and len(said.err.splitlines()) == 1
    assert (
        "img_align_celeba.zip" in said.err
        and "CelebA, MMLAB of the Chinese University of Hong Kong" in said.err
    )


def test_skipped_images_are_counted_in_the_last_line(tmp_path, capsys):
    archives.classes(tmp_path / "photos", [""], count=60)
    (tmp_path / "photos" / "cat" / "7.jpg").write_bytes(b"no image")
    run(
        "import",
        "folder",
        "--source",
        tmp_path / "photos",
        "--dest",
        tmp_path / "data",
        "--name",
        "photos",
    )
    assert "photos: train 119 images, 1 skipped (skipped.txt) in " in capsys.readouterr().out


WRONG = {
    "no command": ([], "nothing: is no command"),
    "another command": (["export"], "export: is no command, of which there are import"),
    "no data set": (["import", "--dest=d"], "0 data sets are named"),
    "two": (["import", "celeba", "lsun", "--dest=d"], "2 data sets are named"),
    "unknown": (
        ["import", "celebb", "--dest=d"],
        "celebb: is none of celeba, celeba_hq, cifar10, folder, lsun, mnist, or tfds:NAME",
    ),
    "no dest": (["import", "celeba", "--source=s"], "--dest=DATA is missing: name a directory"),
    "an empty dest": (
        ["import", "celeba", "--source=s", "--dest="],
        "--dest=DATA is missing: name a directory",
    ),
    "an empty dest of tfds": (
        ["import", "tfds:cifar100", "--dest="],
        "--dest=DATA is missing: name a directory",
    ),
    "bucket": (
        ["import", "celeba", "--source=s", "--dest=gs://b"],
        "--dest=gs://b: name a directory of this machine's",
    ),
    "no source": (["import", "celeba", "--dest=d"], "--source=DOWNLOADS is missing: say where"),
    "an empty source": (
        ["import", "celeba", "--source=", "--dest=d"],
        "--source=DOWNLOADS is missing: say where",
    ),
    "no name": (
        ["import", "folder", "--source=s", "--dest=d"],
        "--name=NAME is missing: say what",
    ),
    "an empty name": (
        ["import", "folder", "--source=s", "--dest=d", "--name="],
        "--name=NAME is missing: say what",
    ),
    "an empty name of a known set": (
        ["import", "celeba", "--source=s", "--dest=d", "--name="],
        "--name=: is no name for a data set",
    ),
    "no such source": (
        ["import", "folder", "--source=nowhere", "--dest=d", "--name=n"],
        "--source=nowhere: does not exist",
    ),
    "flag": (["import", "celeba", "--sauce=s"], "sauce"),
    "source of tfds": (
        ["import", "tfds:cifar100", "--source=s", "--dest=d"],
        "tfds:cifar100 takes neither",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_line(case):
    arguments, said = WRONG[case]
    with pytest.raises(UserError, match=said) as error:
        run(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("arguments", [["--help"], ["import", "--help"]])
def test_help_names_the_data_sets(arguments, capsys):
    run(*arguments)
    assert "celeba, celeba_hq, cifar10, lsun, mnist, or folder" in capsys.readouterr().out


def test_without_tensorflow_its_data_sets_are_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError,
        match="tfds:cifar100: .*TensorFlow, which is not installed: pip install tensorflow",
    ):
        run("import", "tfds:cifar100", f"--dest={tmp_path}")


def test_with_tensorflow_they_are_prepared_as_array_records(tmp_path, monkeypatch, capsys):
    import tensorflow_datasets as tfds

    called = []

    def builder(name, data_dir, file_format):
        splits = {"train": SimpleNamespace(num_examples=3)}
        info, directory = SimpleNamespace(splits=splits), f"{data_dir}/{name}/3.0.2"
        called.append((name, data_dir, file_format))
        return SimpleNamespace(
            data_dir=directory, info=info, download_and_prepare=lambda: called.append("prepared")
        )

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(tfds, "builder", builder)
    run("import", "tfds:cifar100", f"--dest={tmp_path}")
    assert called == [("cifar100", str(tmp_path), "array_record"), "prepared"]
    config = f"--config.data.name=tfds:cifar100 --config.data.path={tmp_path}"
    assert (
        capsys.readouterr().out
        == f"cifar100: train 3 images in {tmp_path}/cifar100/3.0.2: {config}\n"
    )


def test_a_data_set_that_tensorflow_datasets_does_not_know_is_named_in_one_line(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(
        UserError, match="tfds:nowhere_to_be_found: cannot be prepared in .*not found"
    ) as error:
        run("import", "tfds:nowhere_to_be_found", f"--dest={tmp_path}")
    assert "\n" not in str(error.value)
