"""Rows drawn as pictures that Markdown can hold: SVG in a data address, so nothing is fetched."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = Sequence[Any]
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # letters stay letters: smaller, and in the reader's own font
    "svg.hashsalt": "the same rows make the same picture",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
}
_BANDS = {"healthy": "#2e9e6b", "watch": "#e0b12f", "risk": "#d1495b", "unknown": "#9aa5b1"}
_BLUE, _GREY = "#3b6fb6", "#9aa5b1"


def segment_sizes(rows: Sequence[Row]) -> str:
    """Rows: day, segment, size."""
    series: dict[str, list[tuple[Any, int]]] = {}
    for day, name, size in rows:
        series.setdefault(name, []).append((day, size))
    largest = sorted(series, key=lambda name: series[name][-1][1], reverse=True)

    def draw(axes: Axes) -> None:
        for number, name in enumerate(largest):
            days, sizes = zip(*series[name], strict=True)
            mark = "o" if len(days) < 3 else None
            style = ("-", "--", ":")[number // 10 % 3]
            axes.plot(days, sizes, style, marker=mark, label=name, color=f"C{number % 10}")
        axes.set_ylabel("members")
        axes.set_yscale("symlog")
        if all(len(sizes) == 1 for sizes in series.values()):
            # of one day the axis would be guessed as years
            axes.set_xticks(sorted({day for day, _, _ in rows}))
            axes.margins(x=1)
        if rows:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=7)

    return _picture("Size of each segment", draw, height=4.2)


def health_distribution(rows: Sequence[Row]) -> str:
    """Rows: day, band, customers."""
    days = sorted({day for day, _, _ in rows})
    counts = {(day, band): number for day, band, number in rows}

    def draw(axes: Axes) -> None:
        stacks = [[counts.get((day, band), 0) for day in days] for band in _BANDS]
        axes.stackplot(days, *stacks, labels=list(_BANDS), colors=list(_BANDS.values()))
        axes.set_ylabel("customers")
        axes.legend(loc="upper left", frameon=False, ncols=4)

    return _picture("Customers by health", draw)


def stage_funnel(rows: Sequence[Row]) -> str:
    """Rows: stage in its order, customers that ever reached it, customers in it now."""
    stages, reached, present = zip(*rows, strict=True) if rows else ((), (), ())

    def draw(axes: Axes) -> None:
        axes.barh(stages, reached, color="#c9d8ec", label="ever reached")
        bars = axes.barh(stages, present, color=_BLUE, height=0.5, label="there now")
        axes.bar_label(bars, padding=3)
        axes.invert_yaxis()
        axes.set_xlabel("customers")
        axes.legend(loc="lower right", frameon=False)

    return _picture("Stages", draw)


def backtest(rows: Sequence[Row]) -> str:
    """Rows: lead in days, AUC, its lower and upper bound, that of the better baseline."""

    def draw(axes: Axes) -> None:
        if rows:
            lead, auc, low, high, baseline = zip(*rows, strict=True)
            axes.fill_between(lead, low, high, color=_BLUE, alpha=0.2, label="95% interval")
            axes.plot(lead, auc, "-o", color=_BLUE, label="health score")
            axes.plot(lead, baseline, "--s", color=_GREY, label="better baseline")
        axes.axhline(0.5, color="black", linewidth=0.8, label="chance")
        axes.set_xlabel("days before the churn")
        axes.set_ylabel("AUC")
        axes.legend(loc="best", frameon=False, ncols=2)

    return _picture("How well the score tells who leaves", draw)


def trigger_lift(rows: Sequence[Row]) -> str:
    """Rows: trigger, metric, lift, its lower and upper bound (None: not known), verdict."""

    def draw(axes: Axes) -> None:
        for place, (_, _, lift, low, high, verdict) in enumerate(rows):
            if lift is None or low is None or high is None:
                axes.text(0, place, f" {verdict}", va="center", fontsize=7, color=_GREY)
                continue
            color = _BANDS["healthy"] if low > 0 else _BANDS["risk"] if high < 0 else _BLUE
            axes.plot([low, high], [place, place], color=color)
            axes.plot([lift], [place], "o", color=color)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(rows)), [f"{name}, {metric}" for name, metric, *_ in rows])
        axes.set_ylim(len(rows), -1)
        axes.set_xlabel("lift over the held-out, 95% interval")

    return _picture("What each trigger changed", draw, height=1.2 + 0.24 * len(rows))


DRAWN: Mapping[str, Callable[[Sequence[Row]], str]] = {
    "segment_sizes": segment_sizes,
    "health_distribution": health_distribution,
    "stage_funnel": stage_funnel,
    "backtest": backtest,
    "trigger_lift": trigger_lift,
}
"""Every picture, by its name."""


def _picture(title: str, draw: Callable[[Axes], None], *, height: float = 3.2) -> str:
    """Markdown of one image."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(8, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title, loc="left")
        draw(axes)
        for label in axes.get_xticklabels():
            label.set_fontsize(8)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    encoded = base64.b64encode(drawn.getvalue()).decode()
    return f"![{title}](data:image/svg+xml;base64,{encoded})"
