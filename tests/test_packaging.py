"""What is installed: one version, commands by name, and experiments found through the package."""

import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import natra_jax
from natra_jax import config

ROOT = Path(__file__).parents[1]
COMMANDS = ("natra", "natra-data", "natra-predict", "natra-weights")


def test_the_version_is_written_once():
    assert importlib.metadata.version("natra_jax") == natra_jax.__version__
    assert natra_jax.__version__ not in (ROOT / "setup.py").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_a_function_that_there_is(name):
    (script,) = importlib.metadata.entry_points(group="console_scripts", name=name)
    assert script.module.startswith("natra_jax.") and callable(script.load())


def test_importing_the_package_imports_nothing_slow():
    code = "import sys, natra_jax; sys.exit(bool({'jax', 'numpy', 'flax'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_experiments_are_installed_without_a_link(tmp_path, monkeypatch):
    assert not any(path.is_symlink() for path in (ROOT / "natra_jax").rglob("*"))
    assert not (ROOT / "natra_jax" / "experiments").exists()
    monkeypatch.chdir(tmp_path)
    for file in (ROOT / "experiments").glob("[!_]*.py"):
        found = Path(config.find(f"anywhere/{file.name}"))
        assert found.read_text() == file.read_text()
        module = importlib.import_module(f"natra_jax.experiments.{file.stem}")
        assert Path(module.__file__).samefile(found)
