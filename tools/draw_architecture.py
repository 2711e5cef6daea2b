"""Draw docs/architecture.svg: the rooms of natra_jax on floors, and who imports whom.

    python -m tools.draw_architecture

Everything but the colours and the words in ROLES comes from the imports. A room stands one floor
above the highest room that it imports; rooms that nothing imports stand on the top floor. Files
that import nothing but each other make up the ground floor, which every room may stand on. An
arrow is left out where other arrows lead to the same room. The whole list of imports is in the
picture's metadata, and a test compares it with the source.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.imports import PACKAGE, ROOT, arrows, rooms

PICTURE = ROOT / "docs" / "architecture.svg"

# What a room is for; a line of the picture is about 24 characters.
ROLES = {
    "__init__": "load_classifier",
    "main": "the command lines",
    "predict": "what a classifier answers",
    "pipeline": "all tasks, in order",
    "resolve": "a config settled by its files",
    "config": "names, ranges, defaults",
    "stages": "what each task reads and writes",
    "speed": "side by side timings",
    "training": "the step, devices, the loop",
    "evaluation": "accuracies with intervals",
    "report": "tables, figures, the page",
    "methods": "what a step trains on",
    "latents": "image ↔ codes, directions",
    "gan": "fits a small generator",
    "data": "sources, importers, batches",
    "weights": "foreign checkpoints",
    "attacks": "searches in Spaces",
    "generators": "codes → images",
    "classifiers": "images → logits",
    "types": "shared types",
    "losses": "loss functions",
    "convolution": "fast conv2d",
    "trees": "trees of arrays",
    "orbax_tree": "saved trees",
    "files": "opened safely",
    "json_files": "JSON with schemas",
    "workdir": "work done once",
    "feature_statistics": "AdvBN's mean, std",
    "lease": "one run at a time",
    "command": "exit codes",
    "printable": "safe to print",
    "entry": "signals, then imports",
    "interruption": "Ctrl-C between steps",
    "shortage": "memory that runs out",
    "inputs": "what a config names, opened",
}
PACKAGE_LABEL = {"__init__": "natra_jax"}  # the package itself is a room of one file

Edge = tuple[str, str]  # (room, imported room)


def edges() -> list[Edge]:
    """Return every (room, imported room), sorted."""
    return sorted(arrows())


def ground(found: Iterable[Edge]) -> set[str]:
    """Return the rooms of the ground floor: single files that import only each other."""
    found = set(found)
    names = {name for edge in found for name in edge}
    floor = {name for name in names if not (PACKAGE / name).is_dir()}
    while outside := {a for a, b in found if a in floor and b not in floor}:
        floor -= outside
    return floor


def floors(found: Iterable[Edge]) -> list[list[str]]:
    """Return the rooms of each floor, from the ground floor up. Raise ValueError on a circle."""
    found = set(found)
    below = ground(found)
    imported = _imported(edge for edge in found if not set(edge) & below)
    names = {name for edge in found for name in edge} - below
    height: dict[str, int] = {}
    while len(height) < len(names):
        ready = {n for n in names - height.keys() if imported.get(n, set()) <= height.keys()}
        if not ready:
            raise ValueError(f"imports run in a circle among {sorted(names - height.keys())}")
        for name in ready:
            height[name] = 1 + max((height[b] for b in imported.get(name, ())), default=0)
    top = max(height.values())
    used = {b for _, b in found}
    height.update(dict.fromkeys(names - used, top))
    return [sorted(below), *(sorted(n for n in names if height[n] == h) for h in range(1, top + 1))]


def reduced(found: Iterable[Edge]) -> list[Edge]:
    """Return the edges that no path of other edges replaces (the transitive reduction)."""
    imported = _imported(found)

    def reachable(name: str) -> set[str]:
        direct = imported.get(name, set())
        return direct.union(*(reachable(b) for b in direct))

    return sorted(
        (a, b)
        for a, direct in imported.items()
        for b in direct
        if not any(b in reachable(other) for other in direct - {b})
    )


def _imported(found: Iterable[Edge]) -> dict[str, set[str]]:
    imported: dict[str, set[str]] = {}
    for a, b in found:
        imported.setdefault(a, set()).add(b)
    return imported


# The places of the rooms. An arrow that passes a floor holds a narrow place on it, a Node too.

Node = str | tuple[str, str, int]  # a room, or (room, imported room, floor passed)

WIDTH, MARGIN = 960.0, 14.0  # of the picture, in CSS pixels
ROOM_HEIGHT, STEP = 46.0, 106.0
NUMBERS = 26.0  # for the numbers of the floors, on the left
GAP, LANE = 22.0, 12.0  # between rooms; for an arrow that passes


class Layout(NamedTuple):
    order: list[list[Node]]  # floors from 1 up, each from left to right
    x: dict[Node, float]  # centres
    links: list[tuple[Node, Node]]  # from a floor to the next one below


def arrange(levels: Sequence[Sequence[str]], found: Iterable[Edge], tries: int = 300) -> Layout:
    """Return the rooms in an order that lets few arrows cross, and their places.

    Args:
        levels: rooms of each floor above the ground floor, from below.
        found: the arrows to draw.
        tries: random orders to improve; the best one is kept.
    """
    floor = {name: i for i, level in enumerate(levels) for name in level}
    order: list[list[Node]] = [list(level) for level in levels]
    links: list[tuple[Node, Node]] = []
    for a, b in found:
        chain: list[Node] = [a, *((a, b, i) for i in range(floor[a] - 1, floor[b], -1)), b]
        for node, i in zip(chain[1:-1], range(floor[a] - 1, floor[b], -1), strict=True):
            order[i].append(node)
        links += zip(chain[:-1], chain[1:], strict=True)
    generator = random.Random(0)  # the picture is the same for the same imports
    layouts = []
    for _ in range(tries):
        for level in order:
            generator.shuffle(level)
        tried = _uncrossed(order, links)
        x = _places(tried, links)
        layouts.append((_cost(tried, x, links), Layout(tried, x, links)))
    return min(layouts, key=lambda pair: pair[0])[1]


def _neighbours(links: Iterable[tuple[Node, Node]]) -> dict[Node, list[Node]]:
    near: dict[Node, list[Node]] = {}
    for a, b in links:
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    return near


def _uncrossed(order: Sequence[Sequence[Node]], links: Sequence[tuple[Node, Node]]):
    """Sort each floor by the mean place of its neighbours on the floor before, up and down."""
    order = [list(level) for level in order]
    near = _neighbours(links)
    for sweep in range(12):
        upwards = sweep % 2 == 0
        fixed = range(len(order) - 1) if upwards else range(len(order) - 1, 0, -1)
        for i in fixed:
            j = i + 1 if upwards else i - 1
            place = {node: k / max(len(order[i]) - 1, 1) for k, node in enumerate(order[i])}
            own = {node: k / max(len(order[j]) - 1, 1) for k, node in enumerate(order[j])}

            def mean(node: Node, place=place, own=own) -> float:
                found = [place[other] for other in near.get(node, ()) if other in place]
                return sum(found) / len(found) if found else own[node]

            order[j].sort(key=mean)
    return order


def _places(order: Sequence[Sequence[Node]], links: Sequence[tuple[Node, Node]]):
    """Move every node towards its neighbours, keeping the order and the distances."""
    near = _neighbours(links)
    x: dict[Node, float] = {}
    for level in order:
        step = WIDTH / len(level)
        x.update({node: (k + 0.5) * step for k, node in enumerate(level)})
    for sweep in range(40):
        for level in order if sweep % 2 else reversed(order):
            wanted = []
            for node in level:
                pulls = [(x[other], _stiffness(node, other)) for other in near.get(node, ())]
                total = sum(weight for _, weight in pulls)
                wanted.append(sum(p * w for p, w in pulls) / total if pulls else x[node])
            x.update(zip(level, _spread(wanted, [_width(node) for node in level]), strict=True))
    return x


def _stiffness(*ends: Node) -> int:
    """Return how much a link wants to be upright: the more, the more floors its arrow passes."""
    return 1 + 3 * sum(not isinstance(end, str) for end in ends)


def _spread(wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Return the places nearest to those wanted (least squares) at which nothing overlaps."""
    offsets = [0.0]
    for left, right in zip(widths[:-1], widths[1:], strict=True):
        offsets.append(offsets[-1] + (left + right) / 2)
    blocks: list[list[float]] = []  # sum, count of pooled neighbours
    for place, offset in zip(wanted, offsets, strict=True):
        blocks.append([place - offset, 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    low = MARGIN + NUMBERS + widths[0] / 2
    high = max(WIDTH - MARGIN - widths[-1] / 2 - offsets[-1], low)
    shifts = [total / count for total, count in blocks for _ in range(int(count))]
    return [
        min(max(shift, low), high) + offset for shift, offset in zip(shifts, offsets, strict=True)
    ]


def _cost(order, x: Mapping[Node, float], links: Sequence[tuple[Node, Node]]) -> float:
    """Return the crossings, then the sideways way of all arrows, as one number."""
    floor = {node: i for i, level in enumerate(order) for node in level}
    by_floor: dict[int, list[tuple[float, float]]] = {}
    for a, b in links:
        by_floor.setdefault(floor[a], []).append((x[a], x[b]))
    crossings = sum(
        (a - c) * (b - d) < 0
        for pairs in by_floor.values()
        for i, (a, b) in enumerate(pairs)
        for c, d in pairs[:i]
    )
    return crossings + sum(abs(x[a] - x[b]) for a, b in links) / 2000


def _width(node: Node) -> float:
    """Return how much of a floor a node takes, the gap to the next one included."""
    if not isinstance(node, str):
        return LANE + GAP / 2
    name = PACKAGE_LABEL.get(node, node)
    return max(8.6 * len(name), 5.6 * len(ROLES[node])) + 20 + GAP


# The drawing

INK, MUTED, PAPER = "#1f2933", "#5b6875", "#ffffff"
COLOURS = ("#0072b2", "#009e73", "#b8860b", "#d55e00", "#a05195", "#2f6f8f", "#5b6875")
DPI = 96


def draw(path: Path) -> None:
    """Write the picture of today's imports as an SVG (or, by the file's ending, a PNG)."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = edges()
    below, *levels = floors(found)
    shown = reduced(edge for edge in found if not set(edge) & set(below))
    layout = arrange(levels, shown)

    slab, above = 128.0, 38.0
    height = MARGIN * 2 + slab + above + STEP * (len(levels) - 1) + ROOM_HEIGHT
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor=PAPER, layout=None)
    FigureCanvasAgg(figure)
    area = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height))
    area.set_axis_off()

    bottom = {i: MARGIN + slab + above + i * STEP for i in range(len(levels))}
    _draw_arrows(area, layout, bottom)
    for i, level in enumerate(layout.order):
        colour = COLOURS[i % len(COLOURS)]
        _text(area, MARGIN + 10, bottom[i] + ROOM_HEIGHT / 2, str(i + 1), 10.0, colour)
        for node in level:
            if isinstance(node, str):
                _draw_room(area, node, layout.x[node], bottom[i], colour)
    _draw_ground(area, below, slab)

    listed = "\n".join(f"{a} -> {b}" for a, b in found)
    metadata = {"Date": None, "Title": "The rooms of natra_jax", "Description": listed}
    with matplotlib.rc_context({"svg.hashsalt": "natra_jax", "svg.fonttype": "path"}):
        figure.savefig(path, metadata=metadata if path.suffix == ".svg" else None)


def _draw_room(area, name: str, x: float, y: float, colour: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    wide = _width(name) - GAP
    style = "round,pad=0,rounding_size=7"
    for face, edge, alpha in ((PAPER, "none", 1.0), (colour, "none", 0.13), ("none", colour, 1.0)):
        area.add_patch(
            FancyBboxPatch(
                (x - wide / 2, y),
                wide,
                ROOM_HEIGHT,
                boxstyle=style,
                facecolor=face,
                edgecolor=edge,
                alpha=alpha,
                linewidth=1.2,
                zorder=3,
            )
        )
    _text(area, x, y + 29, PACKAGE_LABEL.get(name, name), 10.5, INK, weight="bold")
    _text(area, x, y + 13, ROLES[name], 7.8, MUTED)


def _draw_arrows(area, layout: Layout, bottom: Mapping[int, float]) -> None:
    from matplotlib.patches import FancyArrowPatch, PathPatch
    from matplotlib.path import Path as Curve

    floor = {node: i for i, level in enumerate(layout.order) for node in level}
    ports = _ports(layout)
    shades = _shades(layout)
    following = {a: b for a, b in layout.links if not isinstance(a, str)}
    for a, b in layout.links:
        if not isinstance(a, str):
            continue
        colour = shades[a]
        x, y = ports[a, b, "out"], bottom[floor[a]]
        points, codes = [(x, y)], [Curve.MOVETO]
        previous, node = a, b
        while True:
            end = ports[previous, node, "in"] if isinstance(node, str) else layout.x[node]
            level = bottom[floor[node]] + ROOM_HEIGHT + (7 if isinstance(node, str) else 4)
            bend = (y - level) * 0.55
            points += [(x, y - bend), (end, level + bend), (end, level)]
            codes += [Curve.CURVE4] * 3
            if isinstance(node, str):
                break
            x, y = end, bottom[floor[node]] - 4
            points.append((x, y))
            codes.append(Curve.LINETO)
            previous, node = node, following[node]
        style = {"edgecolor": colour, "linewidth": 1.3, "alpha": 0.85, "zorder": 2}
        area.add_patch(PathPatch(Curve(points, codes), facecolor="none", **style))
        area.add_patch(
            FancyArrowPatch(
                (end, level + 1),
                (end, level - 7),
                arrowstyle="-|>,head_length=4,head_width=2.4",
                facecolor=colour,
                shrinkA=0,
                shrinkB=0,
                mutation_scale=1.5,
                **style,
            )
        )


def _shades(layout: Layout) -> dict[Node, str]:
    """Return the colour of each room's arrows: its floor's, a dark and a light shade in turn."""
    shades: dict[Node, str] = {}
    for i, level in enumerate(layout.order):
        colour = COLOURS[i % len(COLOURS)]
        named = [node for node in level if isinstance(node, str)]
        for k, node in enumerate(named):
            share = 0.62 if k % 2 and len(named) > 1 else 1.0
            parts = [int(int(colour[j : j + 2], 16) * share) for j in (1, 3, 5)]
            shades[node] = "#" + "".join(f"{part:02x}" for part in parts)
    return shades


def _ports(layout: Layout) -> dict[tuple[Node, Node, str], float]:
    """Return where arrows leave and reach the rooms, spread so that they do not meet."""
    ports: dict[tuple[Node, Node, str], float] = {}
    for side in ("out", "in"):
        at: dict[Node, list[tuple[Node, Node]]] = {}
        for a, b in layout.links:
            at.setdefault(a if side == "out" else b, []).append((a, b))
        for node, links in at.items():
            links.sort(key=lambda link: layout.x[link[side == "out"]])
            room = _width(node) - GAP - 24
            step = min(18.0, room / max(len(links) - 1, 1))
            for k, (a, b) in enumerate(links):
                ports[a, b, side] = layout.x[node] + (k - (len(links) - 1) / 2) * step
    return ports


def _draw_ground(area, names: Sequence[str], slab: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    area.add_patch(
        FancyBboxPatch(
            (MARGIN, MARGIN),
            WIDTH - 2 * MARGIN,
            slab,
            boxstyle="round,pad=0,rounding_size=7",
            facecolor="#f1f3f5",
            edgecolor="#c9d0d7",
            linewidth=1.2,
        )
    )
    title = "The ground floor: files that import only each other. Arrows to them are not drawn."
    _text(area, WIDTH / 2, MARGIN + slab - 16, title, 8.2, MUTED)
    _text(area, MARGIN + 10, MARGIN + slab / 2, "0", 10.0, MUTED)
    columns = (len(names) + 1) // 2
    for k, name in enumerate(names):
        x = MARGIN + NUMBERS + (k % columns + 0.5) * (WIDTH - 2 * MARGIN - NUMBERS) / columns
        y = MARGIN + slab - 62 - 46 * (k // columns)
        _text(area, x, y + 20, name, 10.0, INK, weight="bold")
        _text(area, x, y + 5, ROLES[name], 7.8, MUTED)


def _text(area, x: float, y: float, text: str, size: float, colour: str, **more) -> None:
    area.text(
        x, y, text, size=size, color=colour, ha="center", va="center", family="DejaVu Sans", **more
    )


def main() -> None:
    """Draw the picture of the house."""
    missing = (rooms() | {"__init__"}) - ROLES.keys()
    if missing:
        raise SystemExit(f"say in ROLES what {sorted(missing)} are for")
    draw(PICTURE)
    print(PICTURE.relative_to(ROOT))


if __name__ == "__main__":
    main()
