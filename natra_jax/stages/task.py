"""Tasks, as every stage declares them, so that the pipeline can order, skip and run its work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from etils import epath
from ml_collections import ConfigDict

from natra_jax import methods
from natra_jax.classifiers import factory
from natra_jax.config import flatten
from natra_jax.files import require_small
from natra_jax.inputs import Inputs
from natra_jax.stages.context import SINGLE, SINGLE_CODE, Context, is_single, single
from natra_jax.weights.loading import require_known

# Config fields that say how work is done and not what comes of it: no task declares them.
EXECUTION = (
    "parallel",
    "data.threads",
    "data.workers",
    "data.decoded_gigabytes",
    "train.checkpoint_every",
)
_IN_VARIANTS = {"encoder", "shift", "encode", "directions", "screen"}
Run = Callable[[Context, epath.Path], None]
Check = Callable[[Context], None]


class Limit(NamedTuple):
    """The most that a config field may be for the data that there are."""

    field: str
    most: int
    of: str  # what there are so many of: 'training images'
    least: int = 1
    parts: int = 1  # devices among which the field's value is divided
    group: str = ""  # a config field that divides each part; '' for none


Finding = Limit | str  # a sentence says what is missing, and what to do


class Task(NamedTuple):
    """A unit of work with a directory of its own in the work directory."""

    name: str  # and directory: 'directions', 'train/natra-0'
    stage: str  # that it is run with: 'directions', 'train'
    run: Run  # (context, directory), writes the files
    fields: Mapping[str, Any]
    """{config field: value} of every field that run reads, unless a task that it depends on
    declares it; where a field names a file, the file's SHA-256 is the value"""
    depends_on: tuple[str, ...] = ()  # names of the tasks whose files it reads
    checks: tuple[Check, ...] = ()
    """Raise UserError for what run would fail on; each is called once, however many tasks have it,
    when the data are there and before anything else is computed"""
    sizes: Callable[[Context], Iterable[Finding]] | None = None
    """Yields what run asks of the data's sizes; called before checks, of all tasks that will run"""


class Plan(NamedTuple):
    """An experiment, as stages declare their tasks from it."""

    config: ConfigDict
    identity: Mapping[str, str]  # of the data: `Survey.identity`
    inputs: Inputs
    has_generator: bool

    def fields(self, *names: str) -> dict[str, Any]:
        """Return {field: value} of the named fields, and of all fields in the named sections."""
        return {
            field: value
            for field, value in flatten(self.config).items()
            if any(field == name or field.startswith(f"{name}.") for name in names)
            and field not in EXECUTION
        }

    def fields_without(self, section: str, *names: str) -> dict[str, Any]:
        """Return {field: value} of the section's fields except for those named in full."""
        fields = self.fields(section)
        return {field: value for field, value in fields.items() if field not in names}

    def content(self, field: str) -> dict[str, str]:
        """Return {field: SHA-256} of the JSON file that a config field names."""
        named = flatten(self.config)[field]
        return {field: self.inputs.sha256(str(named).strip(), require_small)}

    def weights(self, field: str) -> dict[str, str]:
        """Return {field: SHA-256} of the file or directory of weights that a config field names."""
        named = flatten(self.config)[field]
        return {field: self.inputs.sha256(str(named).strip(), require_known)}

    def source(self, field: str) -> dict[str, str]:
        """Return {field (source): SHA-256} of the module whose function a config field names."""
        file = factory.source_file(str(flatten(self.config)[field]))
        return {} if file is None else {f"{field} (source)": self.inputs.sha256(file)}

    def variant_of(self, method: str) -> str:
        """Return the variant of encoder, codes and directions that a method is trained on."""
        single_code = methods.find(method).single_code and not is_single(self.config)
        return SINGLE if single_code else ""

    def in_variants(
        self,
        stage: str,
        run: Run,
        fields: Mapping[str, Any],
        depends_on: tuple[str, ...],
        checks: tuple[Check, ...] = (),
        sizes: Callable[[Context], Iterable[Finding]] | None = None,
    ) -> list[Task]:
        """Declare a task of a stage from encoder to screen, in each variant that methods ask for.

        Args:
          stage: its name, and that of the task.
          run: (context, directory), writes the files.
          fields: {config field: value} of every field that run reads.
          depends_on: names of the tasks whose files it reads, without a variant.
          checks: raise UserError for what run would fail on.
          sizes: yields what run asks of the data's sizes.

        Returns:
          The tasks; none for an experiment without a generator.
        """
        if not self.has_generator:
            return []
        variants = {"": None} | {self.variant_of(method): None for method in self.config.methods}
        tasks = []
        for variant in variants:
            same_variant = (name + variant * (name in _IN_VARIANTS) for name in depends_on)
            own, bound = dict(fields), run
            if variant:
                own |= {name: value for name, value in SINGLE_CODE.items() if name in fields}
                bound = _with_single_code(run)
            tasks.append(
                Task(stage + variant, stage, bound, own, tuple(same_variant), checks, sizes)
            )
        return tasks


def _with_single_code(run: Run) -> Run:
    return lambda context, directory: run(single(context), directory)
