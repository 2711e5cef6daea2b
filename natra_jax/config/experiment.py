"""Experiment configurations: files that hold them, their fields by name, and how they print."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from ml_collections import ConfigDict

from natra_jax.config.checks import nearest
from natra_jax.files import require_small
from natra_jax.printable import reason
from natra_jax.types import UserError

INSTALLED = "natra_jax.experiments"  # the package of experiments that come with natra_jax


def find(path: str) -> str:
    """Return path if the file is there, else the path of the installed experiment of that name.

    Raises UserError if there is neither.
    """
    if Path(path).is_file():
        return path
    spec = importlib.util.find_spec(INSTALLED)
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    installed = {file.name: file for folder in folders for file in sorted(folder.glob("*.py"))}
    name = Path(path).name
    if name in installed:
        return str(installed[name])
    if Path(path).exists():
        raise UserError(f"--config={path}: is no file: name a Python file with get_config()")
    names = [name for name in installed if name not in ("__init__.py", "base.py")]
    raise UserError(
        f"--config={path}: no such file, and no installed experiment of that name "
        f"({nearest(name, names)})"
    )


def load(path: str) -> ConfigDict:
    """Return what get_config() of the Python file at path returns. Raise UserError if it fails."""
    try:
        require_small(Path(path))
        spec = importlib.util.spec_from_file_location("natra_jax_experiment", path)
        if spec is None or spec.loader is None:
            raise UserError(
                f"--config={path}: it is not a Python file: name one with a function get_config(), "
                "such as experiments/digits.py"
            )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        config = module.get_config()
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"--config={path}: {type(error).__name__}: {reason(error)}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"--config={path}: get_config() must return an ml_collections.ConfigDict, "
            f"got {type(config).__name__}"
        )
    return config


def check_field(name: str, config: ConfigDict) -> None:
    """Raise UserError with the nearest valid name unless config has the dotted field name."""
    names = list(flatten(config))
    if name not in names:
        raise UserError(f"unknown config field {name} ({nearest(name, names)})")


def flatten(config: ConfigDict, prefix: str = "") -> dict[str, object]:
    """Return {dotted name: value} of every field, tuples as they are."""
    fields: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            fields |= flatten(value, f"{prefix}{key}.")
        else:
            fields[prefix + key] = value
    return fields


def to_json(config: ConfigDict) -> str:
    """Return the configuration as a person would read it."""
    return json.dumps(config.to_dict(), indent=2) + "\n"
