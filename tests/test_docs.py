"""What README.md and docs/*.md name exists: config fields, files, commands, flags, links."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from natra_jax import config, main
from natra_jax.config.field import by_name
from natra_jax.config.fields import FIELDS
from natra_jax.experiments import base
from natra_jax.methods import METHODS
from natra_jax.pipeline import ON_REQUEST, STAGES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text() for page in PAGES}
NAMES = {*by_name(FIELDS), *base.get_config()}
COMMANDS = [
    line.strip().split("  ")[0].partition(" && ")[2] or line.strip().split("  ")[0]
    for text in TEXTS.values()
    for line in re.sub(r" \\\n *", " ", text).splitlines()
    if re.match(r" {4}python -m natra_jax", line)
]


def spoken(text):
    """What stands in backticks on one line."""
    return re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize("page", TEXTS)
def test_every_field_that_a_page_names_is_one(page):
    sections = {name for name in FIELDS if isinstance(FIELDS[name], dict)}
    named = re.findall(r"--config\.([\w.]+)", TEXTS[page])
    for words in spoken(TEXTS[page]):
        if match := re.fullmatch(r"(\w+)\.([\w.]+|\*)(=.*)?", words):
            is_file = f"{match[1]}.{match[2]}".endswith((".md", ".html", ".json", ".jsonl", ".py"))
            if match[1] in sections and not is_file:
                named.append(match[1] if match[2] == "*" else f"{match[1]}.{match[2]}")
    wrong = {
        name
        for name in named
        if name.strip(".") not in {*NAMES, "field", "FIELD"}
        and not any(known.startswith(f"{name}.") for known in NAMES)
    }
    # generator.depth and the like are attributes of the type Generator, explained as such
    assert not wrong - {f"generator.{x}" for x in ("depth", "class_entries", "tail", "head")}


@pytest.mark.parametrize("page", TEXTS)
def test_every_file_that_a_page_names_is_there(page):
    text = TEXTS[page]
    roots = r"(?:natra_jax|tests|experiments|docs|launch|tools|\.ci)/[\w./-]*\w"
    for name in re.findall(rf"(?<![\w/.]){roots}", text):
        made = name == "natra_jax/methods/noise.py"  # the recipe's own
        assert made or (ROOT / name).exists(), name
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # ml_collections'
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one_and_its_flags_are_read(command):
    words = shlex.split(command, comments=True)
    module, arguments = words[2], [word for word in words[3:] if word != "..."]
    assert find_spec(module)
    if module != "natra_jax.main" or any(word.startswith("[") for word in arguments):
        return
    values = main.parse_flags(main._completed([module, *arguments]))
    experiment = values.config
    config.check_names(experiment)
    for name, field in by_name(FIELDS).items():
        value = config.flatten(experiment)[name]
        if not (isinstance(value, str) and value.endswith(".json")):
            field.valid.require(name, value)
    assert set(values.stages) <= {*STAGES, *ON_REQUEST}
    assert set(experiment.methods) <= METHODS.keys() | {m for m in experiment.methods if "+" in m}


def test_the_pages_have_commands():
    assert len(COMMANDS) > 15


def test_the_example_of_arrays_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = re.search(r"## Arrays\n\n```python\n(.*?)```", TEXTS["docs/data.md"], re.DOTALL)
    exec(script[1], {})
    assert (tmp_path / "runs" / "arrays" / "data" / "COMMIT").exists()


def test_the_tests_of_every_kind_of_file_and_fault_exist():
    page = (ROOT / "tests" / "cases.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|")]
    kinds = [row for row in rows if not row.startswith(("| kind |", "| ---"))]
    assert len(kinds) > 40
    for row in kinds:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        assert named and row.count("::") == len(named), row
        for path, test in named:
            text = (ROOT / "tests" / path).read_text()
            assert re.search(rf"^ *def {test}\(", text, re.MULTILINE), f"{path}::{test}"
