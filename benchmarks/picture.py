"""The picture of a run: median ratios per case, with the rounds as dots and the targets as ticks."""

from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contenders import NUTCRACKER, OURS
from benchmarks.measure import CaseResult, cpu_of, throughput_of

NO_MATPLOTLIB = "no picture: matplotlib is not installed (pip install matplotlib)"

BETTER = "#2a7f62"
WORSE = "#b5443c"

PANELS = (
    ("processor time per request (less is better)", cpu_of, "cpu"),
    ("throughput (more is better)", throughput_of, "throughput"),
)


def draw(results: list[CaseResult], path: Path) -> str | None:
    """Write the picture of ours against nutcracker as a PNG; returns None, or why there is no picture."""
    drawn = [result for result in results if {OURS, NUTCRACKER} <= result.samples.keys()]
    if not drawn:
        return "no picture: no case was measured with both ours and nutcracker"
    try:
        matplotlib = import_module("matplotlib")
        matplotlib.use("Agg")
        pyplot = import_module("matplotlib.pyplot")
    except ImportError:
        return NO_MATPLOTLIB
    figure, axes = pyplot.subplots(1, 2, sharey=True, figsize=(13, 1.6 + 0.32 * len(drawn)), layout="constrained")
    for axis, (title, ratio_of, field) in zip(axes, PANELS, strict=True):
        for row, result in enumerate(drawn):
            ratios = result.ratios(OURS, NUTCRACKER, ratio_of)
            target = getattr(result.case.target, field)
            middle = median(ratios)
            good = middle <= target if field == "cpu" else middle >= target
            axis.barh(row, middle, color=BETTER if good else WORSE, height=0.62, zorder=2)
            axis.plot(ratios, [row] * len(ratios), ".", color="black", markersize=4, zorder=4)
            axis.plot([target, target], [row - 0.42, row + 0.42], color="black", linewidth=2, zorder=3)
            axis.annotate(
                f"{middle:.2f}",
                (max(*ratios, middle, target), row),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        finish(axis, title, [result.case.name for result in drawn])
    figure.suptitle("ours / nutcracker: median (bar), rounds (dots), target (black line); red misses it", fontsize=12)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return None


def finish(axis: Any, title: str, names: list[str]) -> None:
    """Add the title, the names, the line of equality, and room for the figures."""
    axis.set_title(title, fontsize=11)
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(0, axis.get_xlim()[1] * 1.12)
    axis.axvline(1, color="grey", linewidth=1, linestyle="--", zorder=1)
    axis.grid(axis="x", alpha=0.3, zorder=0)
