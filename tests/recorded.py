"""Runs of the pipeline in which every task is held to the config fields that it declares.

`python -m tests.recorded ARGUMENTS` is `python -m natra_jax.main ARGUMENTS` under this watch.
"""

from __future__ import annotations

from natra_jax import main, pipeline
from natra_jax.stages.task import EXECUTION


class Recorder:
    """A config that notes in `read` the dotted names of the fields that are read."""

    def __init__(self, config, read, prefix=""):
        self._config, self._read, self._prefix = config, read, prefix

    def __getattr__(self, name):
        return self[name]

    def __getitem__(self, name):
        value = self._config[name]
        if hasattr(value, "to_dict"):
            return Recorder(value, self._read, f"{self._prefix}{name}.")
        self._read.add(self._prefix + name)
        return value

    def __iter__(self):
        return iter(self._config)

    def to_dict(self):
        return {
            name: value.to_dict() if isinstance(value := self[name], Recorder) else value
            for name in self._config
        }


def declared(tasks, name):
    """The fields that a task and all that it depends on declare."""
    return set(tasks[name].fields).union(
        *(declared(tasks, other) for other in tasks[name].depends_on)
    )


def run_recorded(run_task, tasks, task, context):
    """Run a task and fail if it read a field that neither it nor what it depends on declares."""
    read = set()
    config, single_code = (
        None if given is None else Recorder(given, read)
        for given in (context.config, context.single_code)
    )
    run_task(task, context._replace(config=config, single_code=single_code))
    undeclared = read - declared(tasks, task.name) - set(EXECUTION)
    assert not undeclared, f"{task.name} reads {sorted(undeclared)} and does not declare it"


def watch(patch):
    """Hold every task that the pipeline runs to the fields that it declares.

    patch: a pytest.MonkeyPatch, or anything with its setattr.
    """
    known, tasks, run_task = {}, pipeline.tasks, pipeline.run_task

    def remembered(*arguments):
        found = tasks(*arguments)
        known.update({task.name: task for task in found})
        return found

    def recorded(task, context):
        # tests of the pipeline itself have tasks of their own, which read no config
        of_pipeline = known if task.name in known else {task.name: task}
        run_recorded(run_task, of_pipeline, task, context)

    patch.setattr(pipeline, "tasks", remembered)
    patch.setattr(pipeline, "run_task", recorded)


class Patch:
    setattr = staticmethod(setattr)


if __name__ == "__main__":
    watch(Patch)
    main.run()
