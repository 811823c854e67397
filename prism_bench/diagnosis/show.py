"""A diagnosis as text and as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from prism_bench.diagnosis.tables import Detection, Diagnosis
from prism_bench.files import atomic_path
from prism_bench.results.statistics import Estimate
from prism_bench.results.units import count, duration


def markdown(diagnosis: Diagnosis) -> str:
    """Return the tables of a diagnosis as Markdown."""
    regimes = list(dict.fromkeys(found.regime for found in diagnosis.detections))
    counted = ", ".join(f"{number} {name}" for name, number in diagnosis.regimes.items())
    rows, seeds = _rows(diagnosis), len(diagnosis.seeds)
    sampled = f"{seeds} seeds; 95 % intervals over seeds and" if seeds > 1 else "one seed; 95 % intervals over"
    parts = [
        f"```bash\n{diagnosis.command}\n```",
        "Area under the ROC curve: how often a trajectory of the regime scores higher than one that is "
        f"{diagnosis.baseline}; 0.5 is chance. {counted}; base models of {sampled} trajectories.",
        _table(["router", *regimes], [[name, *(_area(d.area) for d in found)] for name, found in rows.items()]),
        "The same for what length, loss and size of the gradient together do not explain of the score:",
        _table(["router", *regimes], [[name, *(_area(d.beyond) for d in found)] for name, found in rows.items()]),
        "Rank correlation of a score with itself under two seeds of the base model, and its price:",
        _table(["router", "between seeds", "FLOPs a trajectory", "time a trajectory"], _stability(diagnosis)),
    ]
    others = [
        [_name(*a.first), _name(*a.second), _number(a.correlation), str(a.pairs)]
        for a in diagnosis.agreements
        if a.first != a.second
    ]
    if others:
        parts += ["Rank correlation of two scores of the same base models:"]
        parts += [_table(["first", "second", "correlation", "seeds"], others)]
    return "\n\n".join(parts) + "\n"


def plot(diagnosis: Diagnosis, path: Path) -> None:
    """Write a PNG: the area of every router and regime, blue where the regime scores higher, red where it is lower."""
    rows = _rows(diagnosis)
    areas = np.array([[d.area.mean for d in found] for found in rows.values()])
    regimes = [d.regime for d in next(iter(rows.values()))]
    figure = Figure(figsize=(2.5 + 1.1 * len(regimes), 1.2 + 0.4 * len(rows)), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(areas, aspect="auto", vmin=0.0, vmax=1.0, cmap="RdBu")
    axis.set_xticks(range(len(regimes)), regimes)
    axis.set_yticks(range(len(rows)), list(rows))
    for row, found in enumerate(rows.values()):
        for column, d in enumerate(found):
            pale = abs(d.area.mean - 0.5) < 0.3
            axis.text(column, row, f"{d.area.mean:.2f}", ha="center", va="center", color="black" if pale else "white")
    axis.set_title(f"Does the score tell a regime from {diagnosis.baseline}?")
    figure.colorbar(image, label="area under the ROC curve")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _rows(diagnosis: Diagnosis) -> dict[str, list[Detection]]:
    rows: dict[str, list[Detection]] = {}
    for found in diagnosis.detections:
        rows.setdefault(_name(found.router, found.setting), []).append(found)
    return rows


def _stability(diagnosis: Diagnosis) -> list[list[str]]:
    itself = {a.first: a.correlation for a in diagnosis.agreements if a.first == a.second}
    return [
        [_name(p.router, p.setting), _number(itself.get((p.router, p.setting))), count(p.flops), duration(p.seconds)]
        for p in diagnosis.prices
    ]


def _name(router: str, setting: str) -> str:
    return f"{router}, {setting}" if setting else router


def _area(estimate: Estimate) -> str:
    return f"{estimate.mean:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
