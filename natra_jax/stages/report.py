"""Stage report: the results as report.md and as index.html, which needs no other file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from etils import epath

from natra_jax import report
from natra_jax.data import to_float
from natra_jax.evaluation.records import Answers, read_records
from natra_jax.report import Picture, Section
from natra_jax.stages import (
    data,
    evaluate,
    feature_decoder,
    judge,
    report_figures,
    screen,
    train,
)
from natra_jax.stages.context import Config, Context
from natra_jax.stages.task import Plan, Task
from natra_jax.training.checkpoint import History
from natra_jax.types import Record

NAME = "report"


def tasks(plan: Plan, before: Sequence[Task]) -> list[Task]:
    """Declare the task report, which reads whatever comes before it and measures something."""
    depends_on = tuple(task.name for task in before if task.stage not in (data.NAME, judge.NAME))
    fields = plan.fields(NAME, "name", "methods", "seeds")
    return [Task(NAME, NAME, run, fields, depends_on)]


def run(context: Context, directory: epath.Path) -> None:
    """Write index.html and report.md into directory."""
    config = context.config
    records = read_records(context.workdir / "records.jsonl")
    answers = evaluate.answers(context)
    rows, baseline = evaluate.rows(config.methods), evaluate.baseline(config)
    best, has_generator = _best(config), context.generator is not None
    sections = [
        _results(context, records, answers),
        *_differences(config, records, answers),
        *report.robustness_sections(records, rows, baseline),
        _data(context),
    ]
    if has_generator:
        sections += [
            report_figures.reconstructions(context),
            report.screening_section(screen.table(context)),
            report_figures.directions(context),
        ]
    if has_generator and best != baseline:
        sections.append(report_figures.escaped_samples(context, best))
    for method in config.methods:
        if (decoded := feature_decoder.load(context, method, config.seeds[0])) is not None:
            sections.append(report_figures.perturbed_features(context, method, decoded))
    sections += [_training(context), _stages(records, [*rows, judge.name(config)])]
    title = f"natra_jax: {config.name}"
    lead = ""
    if best != baseline:
        lead = report.compare(records, best, baseline, _hardest(context), "accuracy", answers)
    info = [
        ("methods", ", ".join(config.methods)),
        ("seeds", ", ".join(map(str, config.seeds))),
        ("updates per method", str(config.train.steps)),
        ("fingerprint", context.fingerprints[NAME]),
    ]
    report.write_html(directory / "index.html", title, sections, lead=lead, info=info)
    report.write_markdown(directory / "report.md", title, sections, lead=lead, info=info)


def summary(context: Context) -> str:
    """Return the results as a table for the terminal, and the path of the report."""
    records = read_records(context.workdir / "records.jsonl")
    headline = report.select(
        _table(context.config, records),
        lambda column: column.split.startswith("test") and "kept" not in column.metric,
    )
    page = context.workdir / NAME / "index.html"
    return f"{report.to_text(headline, width=140)}\n\nreport: {page}"


def _table(config: Config, records: list[Record]) -> report.Table:
    """Return the table of all figures but those of robustness."""
    measured = {r.method for r in records}
    references = [name for name in (judge.name(config),) if name in measured]
    rows = [name for name in evaluate.rows(config.methods) if name in measured] + references
    shown = [r for r in records if r.method in rows and not report.is_robustness_metric(r.metric)]
    return report.build(shown, rows, baseline=evaluate.baseline(config), references=references)


def _best(config: Config) -> str:
    """Return the method whose pictures are shown: natra where it was trained, else the last one."""
    return "natra" if "natra" in config.methods else config.methods[-1]


def _hardest(context: Context) -> str:
    """Return the split that comparisons are made on: the shifted one where there is one."""
    return "test_shift" if "test_shift" in data.info(context).splits else "test_iid"


def _results(context: Context, records: list[Record], answers: Answers) -> Section:
    """Show all figures, with the sentences that are needed to read them."""
    config, measured, text = context.config, {r.metric for r in records}, []
    if any(r.split.endswith("_shift") for r in records):
        text.append(
            "In the iid splits what varies in nature is tied to the label as it was in training; "
            "in the shifted splits it is not."
        )
    if any(metric.startswith("worst") for metric in measured):
        text.append(
            "worstN counts an image as right only if all N of its true variations are classified "
            "correctly: no generator takes part in it."
        )
    if "latent_accuracy" in measured:
        text.append(
            "latent_accuracy is measured along the very directions that natra trains on, so it "
            "flatters natra; read it as a check that training did what it was meant to do."
        )
    if context.generator is not None:
        text.append(judge.describe(config))
    others = [method for method in config.methods if method != evaluate.baseline(config)]
    if "random" in others and "natra" in others:
        text.append(
            report.compare(records, "natra", "random", _hardest(context), "accuracy", answers)
        )
    table = _table(config, records)
    dots = Picture(
        report.metric_dots(report.select(table, lambda column: column.split.startswith("test"))),
        "The test splits: means and 95 % intervals; dashed: the baseline.",
        "Dot chart of every metric on the test splits, a row for each method.",
    )
    return Section("Results", text, table, [dots, *_cost(context, records, table)])


def _cost(context: Context, records: list[Record], table: report.Table) -> list[Picture]:
    """Draw what is reached on the hardest split against the cost, if two methods were trained."""
    spent: dict[str, list[float]] = {}
    for r in records:
        if r.metric == "passes" and r.value > 0:
            spent.setdefault(r.method, []).append(r.value)
    trained = [row for row in table.methods if evaluate.trained_as(row) in spent]
    unit = _best(context.config)
    if len(trained) < 2 or unit not in spent:
        return []
    passes = {row: fmean(spent[evaluate.trained_as(row)]) / fmean(spent[unit]) for row in trained}
    split = _hardest(context)
    found = [column.metric for column in table.columns if column.split == split]
    worst = [metric for metric in found if re.fullmatch(r"worst\d+", metric)]
    metric = max(worst, key=lambda name: int(name.removeprefix("worst")), default="accuracy")
    png = report.cost_dots(table, split, metric, passes, f"{unit} = 1")
    caption = (
        f"{metric} on {split} against the network passes of the whole training; lines: 95 % "
        "intervals."
    )
    alt = f"Dot chart of {metric} over network passes, a dot for each method."
    return [Picture(png, caption, alt)]


def _differences(config: Config, records: list[Record], answers: Answers) -> list[Section]:
    """Show every method minus the best one, paired by seed and image.

    The intervals of the results overlap too easily to show such differences.
    """
    best, methods = _best(config), config.methods
    if len(methods) < 3:
        return []
    on_test = [
        r
        for r in records
        if r.split.startswith("test")
        and "kept" not in r.metric
        and not report.is_robustness_metric(r.metric)
    ]
    rows = [name for name in evaluate.rows(methods) if any(r.method == name for r in on_test)]
    table = report.build_differences(on_test, rows, best, answers)
    return [Section(f"Differences to {best}", table=table)]


def _data(context: Context) -> Section:
    """Show the size of each split, how uneven its classes are, and some images."""
    info, size = data.info(context), context.config.report.examples
    images, rows = [], []
    for name in info.splits:
        examples = _spread(sum(info.counts[name]), size)
        images.append(to_float(data.split(context, name).image[examples]))
    for name, counts in info.counts.items():
        total, most, fewest = sum(counts), int(np.argmax(counts)), int(np.argmin(counts))
        rows.append(
            (
                name,
                str(total),
                str(sum(count > 0 for count in counts)),
                f"{info.classes[most]}: {counts[most]}",
                f"{info.classes[fewest]}: {counts[fewest]}",
                f"{counts[most] / total:.1%}",
            )
        )
    header = (
        "split",
        "images",
        "classes",
        "most images",
        "fewest",
        "always the largest class: accuracy",
    )
    text = []
    if info.unlabelled:
        text = [f"Beside these, {info.unlabelled} images without labels are trained on."]
    grid = Picture(
        report.image_grid(images, info.splits),
        "Images of each split.",
        "A row of images for each split.",
    )
    return Section("Data", text, report.Plain(header, tuple(rows)), [grid])


def _spread(total: int, num: int) -> np.ndarray:
    """Return indices from all over a split: photos of a folder come class by class."""
    return np.linspace(0, total - 1, min(num, total)).astype(int)


def _training(context: Context) -> Section:
    """Show the curves of training, and the radii that adapted to the examples."""
    methods, seeds = context.config.methods, context.config.seeds
    # a method that was not trained on, of weights that were given, has no history
    histories = {}
    for method in methods:
        of_seeds = [train.history(context, method, seed) for seed in seeds]
        if of_seeds[0]:
            histories[method] = of_seeds
    titles = {
        "accuracy on the clean batch": "accuracy",
        "share of variations misclassified": "attack_success",
    }
    panels, figures = {}, []
    for title, metric in titles.items():
        lines = {m: _curve(h, metric) for m, h in histories.items() if metric in h[0][0]}
        if lines:
            panels[title] = lines
    if panels:
        curves = report.curves(panels, methods)
        caption, alt = "The batches of training.", "Training curves of every method."
        figures.append(Picture(curves, caption, alt))
    radii = {
        method: np.concatenate([train.radii(context, method, seed) for seed in seeds])
        for method, of_seeds in histories.items()
        if "epsilon" in of_seeds[0][0]
    }
    if radii:
        histogram = report.histograms(
            radii,
            "radius at the end of training, in sigma",
            methods,
            limit=context.config.natra.epsilon_max,
        )
        caption = "Adaptive radius of the training examples; dashed: its cap."
        figures.append(Picture(histogram, caption, "Histogram of radii."))
    text = (
        "A variation counts as misclassified at the moment it is made, before the update that it "
        "serves."
    )
    return Section("Training", [text], figures=figures)


def _curve(histories: list[History], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps [T] and the metric's values [S, T] of the histories of S seeds."""
    steps = np.array([entry["step"] for entry in histories[0]])
    return steps, np.array([[entry[metric] for entry in history] for history in histories])


def _stages(records: list[Record], methods: list[str]) -> Section:
    """Show the records that are of no method."""
    rows = tuple(
        (r.method, r.metric, r.split, f"{r.value:.5g}", str(r.n))
        for r in records
        if r.method not in methods
    )
    header = ("stage", "metric", "split", "value", "n")
    return Section("Stages", table=report.Plain(header, rows) if rows else None)
