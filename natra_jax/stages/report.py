"""Stage report: what was found, as report.md and as index.html, which needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from etils import epath

from natra_jax import report
from natra_jax.data import to_float
from natra_jax.evaluation import escaped
from natra_jax.evaluation.benchmark import attack, even_batches, predict
from natra_jax.evaluation.records import read_records
from natra_jax.latents.editing import edit
from natra_jax.report import Picture, Section
from natra_jax.stages import data, encode, evaluate, judge, screen, shift, train
from natra_jax.stages.context import Context
from natra_jax.stages.task import Plan, Task
from natra_jax.types import Record

NAME = "report"
_MULTIPLES = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)  # of sigma, shown for each direction

_CANDIDATES = 100  # test images, of which one shows what directions do
_FOUND = {  # by directions.codes
    "encoded": "Found without labels",
    "prior": "Found without labels, in prior samples",
    "within_classes": "Found in what varies among the training images of one class",
}


def tasks(plan: Plan, before: Sequence[Task]) -> list[Task]:
    """Declare the task report, which reads whatever comes before it and measures something."""
    depends_on = tuple(task.name for task in before if task.stage not in (data.NAME, judge.NAME))
    fields = plan.fields(NAME, "name", "methods", "seeds")
    return [Task(NAME, NAME, run, fields, depends_on)]


def run(context: Context, directory: epath.Path) -> None:
    """Write index.html and report.md into directory."""
    records = read_records(context.workdir / "records.jsonl")
    rows = [*evaluate.rows(context.config.methods), judge.name(context.config)]
    table = _table(context, records)
    varied = context.generator is not None
    sections = [
        _results(context, records, table),
        *_differences(context, records),
        *report.robustness_sections(
            records, evaluate.rows(context.config.methods), evaluate.baseline(context.config)
        ),
        _data(context),
        *(
            [
                _reconstructions(context),
                report.screening_section(screen.table(context)),
                _directions(context),
            ]
            if varied
            else []
        ),
        *(_escaped(context) if varied else []),
        _training(context),
        _stages(records, rows),
    ]
    title = f"natra_jax: {context.config.name}"
    lead = _lead(context, records)
    info = [
        ("methods", ", ".join(context.config.methods)),
        ("seeds", ", ".join(map(str, context.config.seeds))),
        ("updates per method", str(context.config.train.steps)),
        ("fingerprint", context.fingerprints["report"]),
    ]
    report.write_html(directory / "index.html", title, sections, lead=lead, info=info)
    report.write_markdown(directory / "report.md", title, sections, lead=lead, info=info)


def summary(context: Context) -> str:
    """The results as a table for the terminal, and where the report is."""
    records = read_records(context.workdir / "records.jsonl")
    headline = report.select(
        _table(context, records),
        lambda column: column.split.startswith("test") and "kept" not in column.metric,
    )
    return f"{report.to_text(headline, width=140)}\n\nreport: {context.workdir / 'report' / 'index.html'}"


def _table(context: Context, records: list[Record]) -> report.Table:
    measured = {r.method for r in records}
    references = [name for name in (judge.name(context.config),) if name in measured]
    rows = [name for name in evaluate.rows(context.config.methods) if name in measured] + references
    shown = [r for r in records if r.method in rows and not report.is_robustness_metric(r.metric)]
    return report.build(
        shown, rows, baseline=evaluate.baseline(context.config), references=references
    )


def _best(context: Context) -> str:
    """The method whose pictures are shown: natra where it was trained, else the last one named."""
    methods = context.config.methods
    return "natra" if "natra" in methods else methods[-1]


def _lead(context: Context, records: list[Record]) -> str:
    method, baseline = _best(context), evaluate.baseline(context.config)
    return (
        report.compare(records, method, baseline, _hardest(context), "accuracy")
        if method != baseline
        else ""
    )


def _hardest(context: Context) -> str:
    """The split that comparisons are made on: the shifted one where there is one."""
    return "test_shift" if "test_shift" in data.info(context).splits else "test_iid"


def _results(context: Context, records: list[Record], table: report.Table) -> Section:
    measured, text = {r.metric for r in records}, []
    if any(r.split.endswith("_shift") for r in records):
        text.append(
            "In the iid splits what varies in nature is tied to the label as it was in training; in the shifted splits it is not."
        )
    if any(metric.startswith("worst") for metric in measured):
        text.append(
            "worstN counts an image as right only if all N of its true variations are classified correctly: no generator takes part in it."
        )
    if "latent_accuracy" in measured:
        text.append(
            "latent_accuracy is measured along the very directions that natra trains on, so it flatters natra; read it as a check that "
            "training did what it was meant to do."
        )
    if context.generator is not None:
        text.append(judge.describe(context.config))
    methods = [m for m in context.config.methods if m != evaluate.baseline(context.config)]
    if "random" in methods and "natra" in methods:
        text.append(report.compare(records, "natra", "random", _hardest(context), "accuracy"))
    on_test = report.select(table, lambda column: column.split.startswith("test"))
    caption = "The test splits: means and 95 % intervals; dashed: the baseline."
    dots = Picture(
        report.metric_dots(on_test),
        caption,
        "Dot chart of every metric on the test splits, a row for each method.",
    )
    return Section("Results", text, table, [dots])


def _differences(context: Context, records: list[Record]) -> list[Section]:
    """Every method minus the best one, seed by seed: what the intervals of the results, which overlap too easily, do not show."""
    best, methods = _best(context), context.config.methods
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
    text = [
        f"Each method minus {best}, taken seed by seed: an interval that leaves out 0 is a difference that other seeds would show too."
    ]
    return [Section(f"Differences to {best}", text, report.build_differences(on_test, rows, best))]


def _data(context: Context) -> Section:
    """What there is, how unevenly, and what it looks like."""
    count, info = context.config.report.examples, data.info(context)
    shown = [
        to_float(data.split(context, name).image[_spread(info.counts[name], count)])
        for name in info.splits
    ]
    grid = Picture(
        report.image_grid(shown, info.splits),
        "Images of each split.",
        "A row of images for each split.",
    )
    rows = []
    for name, of_split in info.counts.items():
        total, most, least = sum(of_split), int(np.argmax(of_split)), int(np.argmin(of_split))
        ends = (f"{info.classes[i]}: {of_split[i]}" for i in (most, least))
        rows.append(
            (
                name,
                str(total),
                str(sum(n > 0 for n in of_split)),
                *ends,
                f"{of_split[most] / total:.1%}",
            )
        )
    columns = (
        "split",
        "images",
        "classes",
        "most images",
        "fewest",
        "always the largest class: accuracy",
    )
    text = (
        [f"Beside these, {info.unlabelled} images without labels are trained on."]
        if info.unlabelled
        else []
    )
    return Section("Data", text, report.Plain(columns, tuple(rows)), [grid])


def _spread(counts: list[int], num: int) -> np.ndarray:
    """Indices of some examples, from all over a split: photos of a folder come class by class."""
    total = sum(counts)
    return np.linspace(0, total - 1, min(num, total)).astype(int)


def _reconstructions(context: Context) -> Section:
    count = context.config.report.examples
    real = data.varied(context, "test_iid").image[: 2 * count]
    decoded = _decode(context, encode.encode_images(context, real))
    pairs = report.reconstruction_grid(to_float(real), decoded, columns=count)
    error = float(np.square(to_float(real) - decoded).mean())
    caption = f"Test images above what encoder and generator make of them (mean squared error of these {error:.4f})."
    return Section(
        "Reconstructions",
        [
            "Everything natra varies is first encoded into the generator's codes; what the reconstruction loses, no variation can show."
        ],
        figures=[Picture(pairs, caption, "Pairs of a test image and its reconstruction.")],
    )


def _directions(context: Context) -> Section:
    along = screen.load(context)
    candidates = data.varied(context, "test_iid").image[:_CANDIDATES]
    clearest = int(candidates.std((1, 2, 3)).argmax())
    codes = encode.encode_images(context, candidates[clearest : clearest + 1])
    # one row of images for each direction: its multiples along it, none along the others
    r = np.eye(len(along.names))[:, None] * np.asarray(_MULTIPLES)[:, None]
    moved = edit(codes, along, r.reshape(-1, len(along.names)))
    images = _decode(context, moved).reshape(
        len(along.names), len(_MULTIPLES), *data.info(context).image_shape
    )
    strip = report.direction_strip(images, along.names, _MULTIPLES, along.useful)
    layers = ", ".join(map(str, np.flatnonzero(along.mask.any(0))))
    return Section(
        "What each direction does",
        [
            f"{_FOUND[context.config.directions.codes]}, moving the codes of layers {layers} alone. A test image, the one of most contrast "
            "among the first, is moved along each direction by multiples of sigma, the spread of the population along it. Training stays "
            f"within {context.config.natra.truncation:g} sigma of the population's mean, so the outermost images lie beyond what it uses "
            "where the example itself lies off the mean."
        ],
        figures=[
            Picture(strip, "A row for each direction.", "Image strips, one for each direction.")
        ],
    )


def _escaped(context: Context) -> list[Section]:
    method, baseline, seed = (
        _best(context),
        evaluate.baseline(context.config),
        context.config.seeds[0],
    )
    if method == baseline:
        return []
    c = context.config.eval
    split = data.varied(context, "test_iid")
    labels = np.asarray(split.label)
    codes = encode.encode_images(context, split.image)
    decoded = _decode(context, codes)
    broken = evaluate.logits(context, train.load(context, baseline, seed))
    space, settings = screen.space(context), {"seed": seed, "batch_size": c.batch_size}
    variations = attack(
        evaluate.search(context), space, broken, codes, labels, c.latent_epsilon, **settings
    ).images
    predictions = {
        baseline: predict(broken, variations, c.batch_size),
        method: predict(
            evaluate.logits(context, train.load(context, method, seed)), variations, c.batch_size
        ),
        judge.name(context.config): predict(
            evaluate.logits(context, judge.load(context)), variations, c.batch_size
        ),
    }
    seen = (predict(broken, split.image, c.batch_size), predict(broken, decoded, c.batch_size))
    all_escaped = escaped.find(labels, *seen, predictions[baseline])
    repaired = escaped.find(labels, *seen, predictions[baseline], predictions[method])
    text = (
        f"Of {len(labels)} test images, {baseline} gets {all_escaped.candidates} right both as they are and as reconstructed. For "
        f"{len(all_escaped.index)} of these the search finds a variation that it gets wrong; {method} gets {len(repaired.index)} of those "
        f"variations right. The judge's answer shows whether the variation kept the label."
    )
    shown = repaired.index[: context.config.report.examples]
    if not len(shown):
        return [Section("Escaped samples", [text])]
    figure = report.escaped(
        to_float(split.image[shown]),
        decoded[shown],
        variations[shown],
        labels[shown],
        {name: a[shown] for name, a in predictions.items()},
    )
    picture = Picture(
        figure,
        f"Wrong with {baseline}, right with {method}.",
        "Images, reconstructions, variations and what models say.",
    )
    return [Section("Escaped samples", [text], figures=[picture])]


def _training(context: Context) -> Section:
    methods, seeds = context.config.methods, context.config.seeds
    # a method that was not trained on, of weights that were given, has none
    histories = {
        method: h
        for method in methods
        if (h := [train.history(context, method, seed) for seed in seeds])[0]
    }
    panels: dict[str, dict] = {}
    for title, metric in (
        ("accuracy on the clean batch", "accuracy"),
        ("share of variations misclassified", "attack_success"),
    ):
        panels[title] = {m: _curve(h, metric) for m, h in histories.items() if metric in h[0][0]}
    panels = {title: lines for title, lines in panels.items() if lines}
    figures = (
        [
            Picture(
                report.curves(panels, methods),
                "The batches of training.",
                "Training curves of every method.",
            )
        ]
        if panels
        else []
    )
    adaptive = {
        m: np.concatenate([train.load(context, m, seed).epsilon for seed in seeds])
        for m, h in histories.items()
        if "epsilon" in h[0][0]
    }
    if adaptive:
        cap = context.config.natra.epsilon_max
        radii = report.histograms(
            adaptive, "radius at the end of training, in sigma", methods, limit=cap
        )
        figures.append(
            Picture(
                radii,
                "Adaptive radius of the training examples; dashed: its cap.",
                "Histogram of radii.",
            )
        )
    return Section(
        "Training",
        [
            "A variation counts as misclassified at the moment it is made, before the update that it serves."
        ],
        figures=figures,
    )


def _curve(histories: list, metric: str) -> tuple[np.ndarray, np.ndarray]:
    steps = np.array([entry["step"] for entry in histories[0]])
    return steps, np.array([[entry[metric] for entry in history] for history in histories])


def _stages(records: list[Record], methods: list[str]) -> Section:
    stages = list(dict.fromkeys(r.method for r in records if r.method not in methods))
    rows = tuple(
        (r.method, r.metric, r.split, f"{r.value:.5g}", str(r.n))
        for r in records
        if r.method in stages
    )
    return Section(
        "Stages",
        table=report.Plain(("stage", "metric", "split", "value", "n"), rows) if rows else None,
    )


def _decode(context: Context, codes: np.ndarray) -> np.ndarray:
    generator_, params = shift.load(context)
    synthesize, size = jax.jit(generator_.synthesize), context.config.eval.batch_size
    parts = [
        np.asarray(synthesize(params, codes[index])) for index in even_batches(len(codes), size)
    ]
    return np.concatenate(parts)[: len(codes)]
