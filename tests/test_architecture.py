"""Imports point one way; what is slow to import, or is of the command line, stays where it is used.

tools/imports.py reads the imports; a room is a directory or a file at the top of natra_jax.
"""

import ast

import pytest

from tools.imports import PACKAGE, arrows, files, imports, rooms

# Every arrow points downwards. Rooms of one line do not import each other, but for the arrows in
# BESIDE.
LAYERS = [
    {"main", "predict", "__init__"},
    {"pipeline", "command"},
    {"resolve"},
    {"config", "stages", "speed", "inputs", "lease"},
    {"training", "evaluation", "report"},
    {"methods"},
    {"latents", "data", "weights"},
    {"gan"},
    {"attacks", "generators", "classifiers"},
    {"losses", "convolution", "trees", "orbax_tree", "workdir", "feature_statistics", "entry"},
    {"json_files"},
    {"files", "shortage"},
    {"types", "printable", "interruption"},
]
BESIDE = {
    ("stages", "config"),
    ("stages", "inputs"),
    ("orbax_tree", "trees"),
    ("report", "evaluation"),
}
# what any room may import
_COMMON = {"types", "printable", "files", "json_files", "interruption", "shortage"}
# Narrower than the layers would allow.
ONLY = {
    "attacks": {*_COMMON, "losses", "feature_statistics"},
    "classifiers": {*_COMMON, "losses", "convolution", "feature_statistics"},
    "generators": {*_COMMON, "convolution", "trees"},
    "gan": {*_COMMON, "convolution"},
    "weights": {*_COMMON, "trees", "orbax_tree", "workdir", "generators", "classifiers", "entry"},
    "data": {*_COMMON, "trees", "workdir", "entry"},
    "methods": {*_COMMON, "losses", "attacks"},
    "training": {*_COMMON, "losses", "data", "workdir", "orbax_tree", "classifiers"},
}
HEAVY = {
    "umap",
    "sklearn",
    "matplotlib",
    "tensorflow_datasets",
    "tensorflow",
    "gradio",
    "torch",
    "PIL",
    "tqdm",
    "lmdb",
    "array_record",
}


def layer(room):
    return next(i for i, rooms in enumerate(LAYERS) if room in rooms)


def test_every_room_belongs_to_a_layer():
    placed = set.union(*LAYERS)
    assert rooms() <= placed, f"say in LAYERS where {rooms() - placed} belongs"
    assert placed <= rooms() | {"__init__"}, "LAYERS names a room that is gone"


def test_imports_point_one_way():
    found = arrows()
    assert len(found) > 40 and ("main", "pipeline") in found
    wrong = [
        f"{path}: {a} imports {b}"
        for (a, b), path in found.items()
        if layer(a) >= layer(b) and (a, b) not in BESIDE
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", ONLY)
def test_the_lower_halves_know_nothing_of_the_upper(room):
    wrong = {b: str(path) for (a, b), path in arrows().items() if a == room and b not in ONLY[room]}
    assert not wrong


def test_exceptions_are_still_needed():
    assert set(arrows()) >= BESIDE


def test_flags_are_touched_by_the_command_line_alone():
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in files()
        for module, _ in imports(path)
        if module.split(".")[0] == "absl"
    }
    assert "main.py" in users
    apart = {
        name
        for name in users
        if name not in ("main.py", "predict.py", "command.py") and not name.endswith("__main__.py")
    }
    assert apart <= {"data/workers.py"}, (
        "grain starts processes only where absl's flags are parsed, be there any or not"
    )
    for path in files():
        if path.name not in ("main.py", "predict.py", "__main__.py"):
            assert "config_flags" not in path.read_text() and "sys.argv" not in path.read_text()


def test_every_command_hears_signals_before_its_imports():
    commands = [p for p in files() if p.name in ("main.py", "predict.py", "__main__.py")]
    assert len(commands) >= 6
    for path in commands:
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        start = '__name__ == "__main__":  # before the imports below, which take seconds\n    '
        start += f'raise SystemExit(entry.start("{module}"))\n'
        before, found, _ = path.read_text().partition(start)
        assert found, f"{path} does not begin by entry.start"
        assert before.rstrip().endswith("from natra_jax import entry\n\nif")


def test_what_is_slow_to_import_is_imported_where_it_is_used():
    everything = {module.split(".")[0] for path in files() for module, _ in imports(path)}
    assert {"umap", "sklearn", "matplotlib"} <= everything
    for path in files():
        at_once = {module.split(".")[0] for module, at_once in imports(path) if at_once}
        assert not at_once & HEAVY, path


HELD_OUT = {"val_shift", "test_iid", "test_shift"}
MAY_READ = {"data", "evaluate", "robustness", "report", "report_figures", "judge"}


def test_only_evaluation_and_report_name_held_out_splits_and_only_the_judge_reads_its_labels():
    for path in (PACKAGE / "stages").glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        constants = {
            node.value
            for node in nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        calls = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        if path.stem not in MAY_READ:
            assert not constants & HELD_OUT and "renderings" not in calls, path
        assert "judge_split" not in calls or path.stem == "judge", path


def test_no_random_seed_is_a_silent_default():
    for path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                defaults = [
                    ast.unparse(d)
                    for d in (*node.args.defaults, *node.args.kw_defaults)
                    if d is not None
                ]
                assert not any(
                    "random.key" in d or "PRNGKey" in d or "default_rng" in d for d in defaults
                ), f"{path}: {node.name}"


# The two rooms within weights: formats knows nothing of networks, converters nothing of files.
WITHIN_WEIGHTS = {
    "formats": (
        "natra_jax.types",
        "natra_jax.files",
        "natra_jax.shortage",
        "natra_jax.json_files",
        "natra_jax.printable",
        "natra_jax.weights.tensors",
    ),
    "converters": (
        "natra_jax.types",
        "natra_jax.printable",
        "natra_jax.weights.tensors",
        "natra_jax.generators",
        "natra_jax.classifiers",
    ),
}


@pytest.mark.parametrize("room", WITHIN_WEIGHTS)
def test_neither_room_of_weights_imports_the_other_and_nobody_outside_imports_its_inside(room):
    inside = f"natra_jax.weights.{room}"
    allowed = (inside, *WITHIN_WEIGHTS[room])
    users = set()
    for path in files():
        modules = {module for module, _ in imports(path) if module.startswith("natra_jax")}
        if path.is_relative_to(PACKAGE / "weights" / room):
            wrong = {m for m in modules if not f"{m}.".startswith(tuple(f"{a}." for a in allowed))}
            assert not wrong, f"{path}: {wrong}"
        elif any(f"{module}.".startswith(f"{inside}.") for module in modules):
            users.add(path.relative_to(PACKAGE).parts[0])
    assert users == {"weights"}


# Calls that open a file, wherever it is from.
OPENING = {
    *("open", "read_text", "read_bytes", "load", "ZipFile", "TarFile", "memmap", "open_memmap"),
    *("fromfile", "loadtxt", "genfromtxt", "copy", "copyfile", "copytree", "safe_open"),
    *("ArrayRecordReader", "builder_from_directory", "CheckpointManager", "restore", "exec_module"),
}
# of modules; a method `load` or `restore` of anything else opens by one of these
MODULES = {"load": {"np", "numpy", "jnp", "pickle", "torch"}, "copy": {"shutil"}}
OURS = {"read_bytes"}  # functions of natra_jax.files, where they are no methods
# Calls that need not go through natra_jax.files: (file, function), and why.
OPENED = {
    ("files.py", "open"): "it is natra_jax.files",
    ("files.py", "os.open"): "likewise",
    ("files.py", "epath.Path(path).open"): "likewise, of a bucket",
    ("command.py", "os.open"): "os.devnull",
    ("entry.py", "os.open"): "os.devnull",
    ("lease.py", "Path('/proc/sys/kernel/random/boot_id').read_text"): "the kernel's",
    ("lease.py", "Path(f'/proc/{process}/stat').read_text"): "the kernel's",
    ("trees.py", "np.load"): "of an open file",
    ("stages/encode.py", "np.load"): "of an open file",
    ("stages/context.py", "np.lib.format.open_memmap"): "behind require_regular",
    ("stages/user_weights.py", "zipfile.ZipFile"): "of an open file",
    ("weights/formats/npz.py", "zipfile.ZipFile"): "of an open file",
    ("weights/formats/npz.py", "archive.open"): "a member of an archive",
    ("data/decoding.py", "Image.open"): "of an open file",
    ("data/descriptions.py", "ArrayRecordReader"): "behind require_shards",
    ("data/records.py", "tfds.builder_from_directory"): "behind require_regular_below",
    ("data/importing/cifar10.py", "tarfile.open"): "of an open file",
    ("data/importing/containers.py", "zipfile.ZipFile"): "of an open file",
    ("data/importing/containers.py", "tarfile.TarFile"): "of an open file",
    ("data/importing/containers.py", "archive.open"): "a member of an archive",
    ("data/importing/images.py", "Image.open"): "of bytes",
    ("data/importing/lmdb_reader.py", "lmdb.open"): "behind open_file of lsun.py",
    ("data/importing/mnist.py", "np.loadtxt"): "of bytes",
    ("data/photographs.py", "np.loadtxt"): "of lines",
    ("data/photographs.py", "Image.open"): "of bytes",
    ("data/importing/shards.py", "ArrayRecordReader"): "written just now",
    ("config/experiment.py", "spec.loader.exec_module"): "behind require_regular",
    ("evaluation/corruptions/digital.py", "Image.open"): "of bytes",
    ("training/checkpoint.py", "ocp.CheckpointManager"): "behind require_regular_below",
    ("training/checkpoint.py", "self._manager.restore"): "likewise",
    ("training/loop.py", "checkpoints.restore"): "a method of training/checkpoint.py",
    ("orbax_tree.py", "ocp.PyTreeCheckpointHandler().restore"): "behind require_regular_below",
    ("speed/loading.py", "Image.open"): "written by the measurement itself",
}


def _writes(call):
    """Return whether a call names a mode of writing."""
    modes = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return any(set(mode) <= set("wxab+t") and set(mode) & set("wxa") for mode in modes)


def test_files_of_others_are_opened_by_natra_jax_files_alone():
    """What is no regular file hangs its reader: see natra_jax/files.py."""
    found = {}
    for path in files():
        name_of_file = path.relative_to(PACKAGE).as_posix()
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or _writes(call):
                continue
            function = ast.unparse(call.func)
            owner, _, name = function.rpartition(".")
            if name in OPENING and owner in MODULES.get(name, {owner}) and function not in OURS:
                found[name_of_file, function] = f"{path}:{call.lineno}"
    wrong = [f"{line}: {name[1]}" for name, line in found.items() if name not in OPENED]
    assert not wrong, "open these by natra_jax.files:\n" + "\n".join(wrong)
    gone = OPENED.keys() - found.keys()
    assert not gone, f"no longer there: take {gone} out of OPENED"


def test_no_file_is_mapped_to_be_written():
    # where the disk is full, writing to a map ends the process without a word
    for path in files():
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            if ast.unparse(call.func).rpartition(".")[2] in ("open_memmap", "memmap"):
                values = {arg.value for arg in ast.walk(call) if isinstance(arg, ast.Constant)}
                assert "r" in values, f"{path}:{call.lineno}: map it with mode='r'"
