"""The command line: a user's mistake is one line on stderr, exit code 2, and nothing is written.

The line names what is wrong and what to do.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import natra_jax
from natra_jax import command as command_line
from natra_jax import main
from natra_jax.config.field import by_name
from natra_jax.config.fields import FIELDS
from natra_jax.types import UserError

# ml_collections' own, on reading a config file
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

ROOT = Path(__file__).parents[1]
SMOKE = "--config=experiments/smoke.py"


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """Return said(arguments) -> (exit code, stdout, stderr) of the command, in this process.

    {tmp} in an argument is a fresh directory.
    """
    monkeypatch.chdir(ROOT)

    def said(*arguments):
        monkeypatch.setattr(
            sys,
            "argv",
            ["natra_jax", *(argument.replace("{tmp}", str(tmp_path)) for argument in arguments)],
        )
        with pytest.raises(SystemExit) as exit_:
            main.run()
        return exit_.value.code, *capsys.readouterr()

    return said


@pytest.fixture
def refused(said, tmp_path):
    """Return refused(arguments) -> the one line on stderr, with nothing written."""

    def refused(*arguments):
        before = sorted(tmp_path.rglob("*"))
        code, out, err = said(*arguments)
        assert code == 2 and out == "", err
        assert err.startswith("natra_jax: ") and err.endswith("\n") and err.count("\n") == 1, err
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return refused


WORK = "--workdir={tmp}/work"

# What is wrong beside a config and a work directory: what the line has to say, in this order.
MISTAKES = {
    "--config.train.stesp=3": ["train.stesp", "did you mean train.steps?"],
    "--config.stesp=3": ["stesp", "did you mean"],
    "--config.trian.batch_size=3": ["trian.batch_size", "did you mean train.batch_size?"],
    ("--config.train.steps=3", "--config.natra.rhoo=1"): ["natra.rhoo", "did you mean natra.rho?"],
    "--config.directions.layers=((0,2),(4,7))": [
        "directions.layers is ((0, 2), (4, 7))",
        "several such",
    ],
    "--config.directions.at=4": ["directions.at is 4", "5..6"],
    "--config.encoder.expand_at=7": ["encoder.expand_at is 7", "1..6"],
    "--config.shift.domain=train": ["shift.domain is 'train'", "marginal, target, both"],
    ("--config.random.kind=normal_w", "--config.encoder.num_codes=2"): [
        "random.kind is 'normal_w'",
        "encoder.num_codes",
    ],
    "--config.encoder.perceptual=vgg16": ["encoder.perceptual_weights is ''", "vgg16-397923af.pth"],
    "--config.encoder.perceptual_weights=vgg16.pth": [
        "encoder.perceptual_weights",
        "empty unless encoder.perceptual",
    ],
    "--config.classifier.name=vgg": ["classifier.name is 'vgg'", "vgg16"],
    "--config.classifier.vgg16.widths=(8,8)": [
        "classifier.vgg16.widths is (8, 8)",
        "5 whole numbers from 1 to 65536",
    ],
    "--config.screening.judge=jury": ["screening.judge is 'jury'", "cross_fitted"],
    "--config.train=3": ["train"],
    "--config.train.steps=abc": ["train.steps", "abc"],
    "--config.train.steps=1.5": ["train.steps", "1.5"],
    "--config.train.steps=": ["train.steps"],
    "--config.train.steps": ["train.steps"],
    "--config.natra.residual=perhaps": ["natra.residual", "perhaps"],
    "--config.natra.rho=much": ["natra.rho", "much"],
    "--config.train.steps=0": ["train.steps is 0", "at least 1"],
    "--config.train.learning_rate=0": ["train.learning_rate is 0", "above 0"],
    "--config.train.learning_rate=nan": ["train.learning_rate is nan", "above 0"],
    "--config.train.learning_rate=inf": ["train.learning_rate is inf", "a finite number"],
    "--config.seeds=(4294967296,)": ["seeds is (4294967296,)", "from 0 to 4294967295"],
    "--config.data.seed=9223372036854775808": ["data.seed", "from 0 to 4294967295"],
    "--config.generator.weights=https://x.org/a.pkl": [
        "--config.generator.weights=https://x.org/a.pkl: https:// is not read",
        "download",
    ],
    "--config.generator.weights=~nobody_x/a.pkl": ["no user 'nobody_x'", "the whole path"],
    "--config.train.init_from=~nobody_x/a.npz": ["no user 'nobody_x'", "the whole path"],
    "--stages=": ["--stages names no stage", "leave it out"],
    "--config.data.path=\udcff": [r"argument '--config.data.path=\udcff' is not UTF-8"],
    "--config.natra.rho=-0.5": ["natra.rho is -0.5", "at least 0"],
    "--config.train.clean_ratio=1.5": ["train.clean_ratio is 1.5", "from 0 to 1"],
    "--config.generator.resolution=20": ["generator.resolution is 20", "a power of two"],
    "--config.directions.layers=(4, 9)": ["directions.layers is (4, 9)", "0..6"],
    "--config.seeds=(True,)": ["seeds is (True,)", "whole numbers"],
    "--config.methods=('original',3)": ["methods is ('original', 3)", "name"],
    "--config.methods=([1],)": ["methods is", "name"],
    "--config.classifier.widths=(True,8)": ["classifier.widths is (True, 8)", "whole numbers"],
    "--config.screening.multiples=(True,2)": ["screening.multiples is (True, 2)", "rise"],
    "--config.screening.multiples=(1.0,1e999)": ["screening.multiples is (1.0, inf)", "finite"],
    "--config.directions.layers=(False,2)": ["directions.layers is (False, 2)"],
    "--config.seeds=(0, 0)": ["seeds is (0, 0)", "none twice"],
    "--config.seeds=()": ["seeds is ()", "at least one"],
    "--config.methods=('natr',)": ["methods", "'natr'", "did you mean natra?"],
    "--config.methods=('original', 'natra+advbm')": [
        "methods",
        "'natra+advbm'",
        "did you mean advbn?",
    ],
    "--config.methods=('natr+advbn',)": ["methods", "'natr+advbn'", "did you mean natra?"],
    "--config.methods=('advbn+natra',)": [
        "methods",
        "'advbn+natra'",
        "first",
        "images",
        "natra+advbn",
    ],
    "--config.methods=('natra+adv',)": [
        "methods",
        "'natra+adv'",
        "second on features",
        "natra+advbn",
    ],
    "--config.methods=('advbn+advbn',)": ["methods", "'advbn+advbn'", "first", "images"],
    "--config.methods=('natra+',)": ["methods", "'natra+'", "valid", "advbn"],
    ("--config.methods=('advbn',)", "--config.advbn.group_size=48"): [
        "advbn.group_size is 48",
        "divisor of the 16 examples",
    ],
    ("--config.methods=('mixi+advbn',)", "--config.train.batch_size=32"): [
        "group_size is 64",
        "divisor of the 8 examples",
    ],
    "--config.natra.search=joined": ["natra.search is 'joined'", "did you mean joint?"],
    "--config.natra.loss=mixd": ["natra.loss is 'mixd'", "did you mean mixed?"],
    "--config.random.kind=boxes": ["random.kind is 'boxes'", "did you mean box?"],
    "--config.advmix.source=others": ["advmix.source is 'others'", "did you mean other?"],
    ("--config.methods=('advmix',)", "--config.advmix.layers=(6, 6)"): [
        "advmix.layers is (6, 6)",
        "0..6",
    ],
    "--config.mixup.alpha=0": ["mixup.alpha is 0", "above 0"],
    "--config.augment.hue=-0.1": ["augment.hue is -0.1", "at least 0"],
    "--config.export.method=adv": ["export.method is 'adv'", "original, random, natra"],
    "--stages=exprot": ["--stages", "'exprot'", "did you mean export?"],
    "--stages=export": ["--stages=export", "needs data", "add data"],
    "--config.directions.method=umpa": ["directions.method is 'umpa'", "did you mean umap?"],
    "--config.natra.norm=l3": ["natra.norm is 'l3'", "linf, l2"],
    "--config.classifier.factory=resnet": [
        "classifier.factory is 'resnet'",
        "package.module:function",
    ],
    "--config.classifier.factory=nowhere.to:find": [
        "classifier.factory is 'nowhere.to:find'",
        "ModuleNotFoundError",
    ],
    "--config.train.init_from=nowhere": [
        "train.init_from is 'nowhere'",
        "original, random, natra",
        "a path that exists",
    ],
    "--config.train.init_from=adv": ["train.init_from is 'adv'", "original, random, natra"],
    "--config.parallel=pmpa": ["parallel is 'pmpa'", "did you mean pmap?"],
    "--config.generator.weights=package:digit": ["'digit'", "generator.weights", "digits"],
    "--stages=evalute": ["--stages", "'evalute'", "did you mean evaluate?"],
    "--stages=data,,train": ["--stages"],
    "--wrokdir=x": ["wrokdir", "workdir"],
    "smoke": ["'smoke'", "--name=value"],
    ("--", "smoke"): ["'smoke'", "--name=value"],
}

# The same of whole command lines; a flag and its value may stand apart.
MISTAKEN_LINES = {
    (SMOKE,): ["--workdir=DIR is missing"],
    (SMOKE, "--workdir="): ["--workdir=DIR is missing"],
    (SMOKE, "--workdir"): ["--workdir"],
    (WORK, "--config=experiments/smok.py"): [
        "--config=experiments/smok.py",
        "did you mean smoke.py?",
    ],
    (WORK, "--config", "experiments/smok.py"): ["experiments/smok.py", "did you mean smoke.py?"],
    (WORK, "--config="): ["--config="],
    (WORK, "--config=README.md"): ["--config=README.md: it is not a Python file", "get_config()"],
    (SMOKE, "--workdir=~nobody_x/runs"): ["--workdir=~nobody_x/runs: no user 'nobody_x'"],
    (SMOKE, "--workdir", "~nobody_x/runs"): ["~nobody_x/runs: no user 'nobody_x'"],
    (SMOKE, "--workdir=ftp://host/runs"): ["--workdir=ftp://host/runs: ftp:// is not read"],
    (SMOKE, "--workdir={tmp}/\udcff"): ["udcff' is not UTF-8 text: rename"],
    (WORK, "--config=."): ["--config=."],
    (WORK, "--config", "experiments/smoke.py", "--config.train.stesp", "3"): [
        "train.stesp",
        "did you mean train.steps?",
    ],
    (WORK, "--config", "experiments/smoke.py", "--config.train.steps", "abc"): [
        "train.steps",
        "abc",
    ],
}


def says(line, parts):
    for part in parts:
        assert part in line
        line = line[line.index(part) + len(part) :]


@pytest.mark.parametrize("arguments", MISTAKES, ids=str)
def test_a_mistake_is_one_line_that_names_it(refused, arguments):
    given = (arguments,) if isinstance(arguments, str) else arguments
    says(refused(SMOKE, WORK, *given), MISTAKES[arguments])


@pytest.mark.parametrize("arguments", MISTAKEN_LINES, ids=" ".join)
def test_a_mistake_in_the_flags_is_one_line_that_names_it(refused, arguments):
    says(refused(*arguments), MISTAKEN_LINES[arguments])


CONFIGS = {
    "raise RuntimeError('no such luck')": ["RuntimeError", "no such luck"],
    "def get_config(): return {}['missing']": ["KeyError", "missing"],
    "def get_config(:": ["SyntaxError"],
    "import natra_jax.nothing": ["ModuleNotFoundError", "natra_jax.nothing"],
    "": ["get_config"],
    "raise SystemExit(3)": ["SystemExit", "3"],
    "def get_config(): pass": ["ml_collections.ConfigDict", "NoneType"],
    "def get_config(): return {'name': 'a dict'}": ["ml_collections.ConfigDict", "dict"],
    "from ml_collections import ConfigDict\n"
    "def get_config(): return ConfigDict({'name': 'bare'})": ["missing", "base.get_config()"],
    "from natra_jax.experiments import base\nget_config = base.get_config": [
        "config field name",
        "a name for the experiment",
    ],
}
SMOKE_CHANGED = """
from natra_jax.experiments import smoke
def get_config():
    c = smoke.get_config()
    {}
    return c
"""
CHANGES = {
    "c.own = 1": ["config field own"],
    "del c.adv": ["adv", "missing"],
    "c.train.steps = 1.5": ["TypeError"],
    "c.train.steps = True": ["steps"],
    "c.seeds = ('0',)": ["seeds", "'0'"],
    r"c.data.path = '\udcff'": [r"data.path is '\udcff'", "UTF-8"],
    r"c.methods = ('\ud800',)": [r"methods is ('\ud800',)", "UTF-8"],
}
CONFIGS |= {SMOKE_CHANGED.format(change): wanted for change, wanted in CHANGES.items()}


@pytest.mark.parametrize("content", CONFIGS)
def test_a_config_file_that_cannot_be_used_says_why(refused, tmp_path, content):
    (tmp_path / "own.py").write_text(content)
    line = refused("--config={tmp}/own.py", WORK)
    for part in CONFIGS[content]:
        assert part in line


@pytest.mark.skipif(find_spec("s3fs") is not None, reason="the package is there")
def test_a_bucket_without_its_package_is_refused(refused):
    line = refused(SMOKE, "--workdir=s3://bucket/runs")
    assert "--workdir=s3://bucket/runs: s3:// needs a package: " in line and "s3fs" in line


def test_a_path_in_a_config_file_is_held_to_the_same(refused, tmp_path):
    (tmp_path / "own.py").write_text(
        SMOKE_CHANGED.format("c.generator.weights = 'https://x.org/a.pkl'")
    )
    line = refused("--config={tmp}/own.py", WORK)
    assert "config field generator.weights=https://x.org/a.pkl: https:// is not read" in line


@pytest.mark.parametrize("below", ["file", "file/work", "file/work/deeper"])
def test_a_workdir_that_cannot_be_made_is_refused(refused, tmp_path, below):
    (tmp_path / "file").write_text("in the way")
    line = refused(SMOKE, "--workdir={tmp}/" + below)
    assert f"--workdir={tmp_path / below}" in line and "choose another" in line


def test_a_workdir_of_another_experiment_is_refused(refused, tmp_path):
    (tmp_path / "config.json").write_text('{"name": "faces"}')
    line = refused(SMOKE, "--workdir={tmp}")
    assert (
        "'faces'" in line
        and "'smoke'" in line
        and (tmp_path / "config.json").read_text() == '{"name": "faces"}'
    )


def test_a_workdir_with_other_files_is_refused(refused, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert "holds files that are not an experiment's" in refused(SMOKE, "--workdir={tmp}")


def test_stages_without_their_inputs_are_refused(refused):
    line = refused(SMOKE, WORK, "--stages=train,evaluate")
    assert "--stages=train,evaluate" in line and "needs data" in line and "add data" in line


UNUSABLE = {
    # right by themselves, but not with these data or with one another
    ("--config.classifier.widths=(12,)", "--stages=data,judge"): "classifier.widths",
    (
        "--config.classifier.factory=tests.classifiers.own:one_class_too_many",
        "--stages=data,judge",
    ): "[2, 11]",
    ("--config.generator.resolution=32", "--stages=data,generator"): "generator.resolution",
}


@pytest.mark.parametrize("arguments", UNUSABLE, ids=lambda arguments: arguments[0])
def test_a_value_that_a_stage_cannot_use_is_a_users_mistake_too(said, arguments):
    code, _, err = said(SMOKE, WORK, *arguments)
    assert code == 2 and err.count("\n") == 1 and UNUSABLE[arguments] in err


def command(*arguments):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "NPROC")
    }
    line = [sys.executable, "-m", "natra_jax.main", *arguments]
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_the_real_command_ends_in_one_line_and_code_2(tmp_path):
    answer = command(SMOKE, f"--workdir={tmp_path / 'work'}", "--config.train.stesp=3")
    assert answer.returncode == 2 and answer.stdout == ""
    assert (
        answer.stderr == "natra_jax: unknown config field train.stesp (did you mean train.steps?)\n"
    )
    assert not (tmp_path / "work").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
@pytest.mark.parametrize(
    ("streams", "code", "said"),
    [
        (
            ">/dev/full",
            2,
            "natra_jax: standard output: No space left on device: write it elsewhere",
        ),
        pytest.param(">&-", 0, "", marks=pytest.mark.slow),
        pytest.param("| true; exit ${PIPESTATUS[0]}", 141, "", marks=pytest.mark.slow),
        pytest.param(">/dev/full 2>/dev/full", 2, "", marks=pytest.mark.slow),
    ],
)
def test_standard_output_that_takes_nothing(streams, code, said):
    line = f"{sys.executable} -m natra_jax.speed --version {streams}"
    answer = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout, answer.stderr.strip()) == (code, "", said)


def test_debug_shows_the_traceback_too(tmp_path):
    answer = command(SMOKE, f"--workdir={tmp_path / 'work'}", "--config.train.steps=0", "--debug")
    assert answer.returncode == 2 and "Traceback" in answer.stderr
    assert answer.stderr.splitlines()[-1].startswith("natra_jax: config field train.steps is 0")


HOSTILE = "x\x1b[2J\u202e\n\nnatra_jax: done\r\0\udc80 é 中文"


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_a_mistake_with_a_hostile_name_is_one_line_that_steers_nothing(debug, capsys):
    def fail(argv):
        raise UserError(f"{HOSTILE}: is damaged")

    with pytest.raises(SystemExit) as exit_:
        command_line.run(fail, ["natra", *debug], interrupted="")
    out, err = capsys.readouterr()
    assert exit_.value.code == 2 and out == ""
    *before, last = err.rstrip("\n").split("\n")
    assert last == r"natra_jax: x\x1b[2J\u202e natra_jax: done \x00\udc80 é 中文: is damaged"
    assert bool(before) == bool(debug) and all(line.isprintable() for line in before)


def test_a_line_of_progress_is_one_line_whatever_it_names(capsys):
    command_line.say(f"data: 3 images of {HOSTILE}")
    out, _ = capsys.readouterr()
    said = r"x\x1b[2J\u202e\n\nnatra_jax: done\r\x00\udc80 é 中文"
    assert out == f"data: 3 images of {said}\n"


@pytest.mark.parametrize("ending", ["run()", "sys.modules['own'] = own; entry.start('own')"])
def test_a_terminal_of_another_encoding_gets_escapes(ending):
    code = (
        "import sys, types; from natra_jax import command, entry; own = types.ModuleType('own')\n"
        "def run(): command.run(lambda argv: command.say('é 中'), [], interrupted='')\n"
        f"own.run = run; {ending}"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, rb"\xe9 \u4e2d" + b"\n", b"")


def test_the_version_is_printed(capsys):
    for argv in (["natra", "--version"], ["natra", "--workdir=x", "--version"]):
        command_line.run(main.main, argv, interrupted="")
        assert capsys.readouterr().out == f"natra_jax {natra_jax.__version__}\n"


@pytest.mark.parametrize("flag", ["--help", "--helpfull", "--helpshort", "-h"])
def test_help_teaches_commands_flags_and_every_field_in_100_columns(flag, capsys):
    main.main(["natra_jax", flag, "--workdir=runs/digits"])
    out, err = capsys.readouterr()
    assert err == "" and max(map(len, out.splitlines())) <= 100
    assert out.count("    python -m natra_jax.main ") == 4 and "Exit code" in out
    for shown in ("--config=", "--workdir=", "--stages=", "--scratch=", "--[no]debug", "--help"):
        assert f"\n  {shown}" in out
    for name in by_name(FIELDS):
        assert out.count(f"\n  {name}=") == 1, name
    assert "verbosity" not in out, "absl has flags of its own"


def test_help_shows_the_values_of_the_experiment_that_is_named(capsys):
    main.main(["natra_jax", "--config", "experiments/celeba.py", "--help"])
    assert "\n  data.label=Smiling " in capsys.readouterr().out


def test_the_real_command_prints_its_help_and_nothing_else():
    answer = command("--help")
    assert answer.stderr == "" and answer.returncode == 0
    assert answer.stdout.startswith("Run an experiment")
