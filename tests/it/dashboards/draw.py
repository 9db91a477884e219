"""Draws one dashboard with what Prometheus answered: `draw.py FILE.json` writes FILE.png. Needs matplotlib.

A stand-in for Grafana, for a person to look at: the same panels at the same places, with the same titles, units, words and
colors. FILE.json is {"dashboard": as Grafana loads it, "panels": [{"title", "answers": one a query}]}.
"""

import json
import math
import pathlib
import re
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

CELL = 0.62  # inches of a column
LINE = 0.42  # inches of a line
COLORS = {
    "green": "#37872d",
    "dark-green": "#19730e",
    "light-green": "#73bf69",
    "yellow": "#e0a000",
    "orange": "#ff780a",
    "red": "#c4162a",
    "dark-red": "#8b0f1c",
    "purple": "#8f3bb8",
    "super-light-blue": "#c0d8ff",
    "light-blue": "#8ab8ff",
    "blue": "#3274d9",
    "dark-blue": "#1250b0",
}


def number(value, unit):
    """A value as people read it."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "∞"
    if unit == "percentunit":
        return f"{value * 100:.1f} %"
    if unit == "s":
        for name, size in (("days", 86400), ("h", 3600), ("min", 60)):
            if abs(value) >= 2 * size:
                return f"{value / size:.1f} {name}"
        return f"{value:.3g} s" if value < 100 else f"{value:.0f} s"
    if unit == "bytes":
        for name, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if abs(value) >= size:
                return f"{value / size:.1f} {name}"
    text = f"{value:.0f}" if value == int(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return text + (" h" if unit == "h" else "")


def words(panel):
    """What values are called instead."""
    mappings = panel["fieldConfig"]["defaults"]["mappings"]
    return {k: v["text"] for mapping in mappings for k, v in mapping["options"].items()}


def name(target, metric):
    """The name of a series."""
    return re.sub(r"{{(\w+)}}", lambda found: metric.get(found[1], ""), target["legendFormat"]).strip() or "value"


def color(panel, value):
    """The color of the last step that is reached."""
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return COLORS.get(reached[-1], "gray")


def line_colors(panel):
    """The series that have a color of their own."""
    found = {}
    for override in panel["fieldConfig"]["overrides"]:
        fixed = override["properties"][0]["value"]["fixedColor"]
        found[override["matcher"]["options"]] = COLORS.get(fixed, fixed)
    return found


def nothing(axes, panel):
    axes.axis("off")
    axes.text(0.5, 0.45, panel["fieldConfig"]["defaults"]["noValue"], ha="center", va="center", color="gray", fontsize=11)


def draw_number(axes, panel, answers):
    unit, named = panel["fieldConfig"]["defaults"]["unit"], words(panel)
    values = [float(series["value"]) for answer in answers for series in answer]
    if not values:
        return nothing(axes, panel)
    axes.set_xticks([]), axes.set_yticks([])
    plain = panel["options"]["colorMode"] == "none"
    axes.set_facecolor("white" if plain else color(panel, values[0]))
    ink = "black" if plain else "white"
    key = "Infinity" if math.isinf(values[0]) else f"{values[0]:g}"
    axes.text(0.5, 0.5, named.get(key, number(values[0], unit)), ha="center", va="center", color=ink, fontsize=15)


def draw_lines(axes, panel, answers):
    kind = panel["fieldConfig"]["defaults"]["custom"]
    stacked, unit = "stacking" in kind, panel["fieldConfig"]["defaults"]["unit"]
    lines = []
    for target, answer in zip(panel["targets"], answers):
        for series in answer:
            points = {float(at): float(value) for at, value in series["values"]}
            if any(not math.isnan(value) for value in points.values()):
                lines.append((name(target, series["metric"]), points))
    if not lines:
        return nothing(axes, panel)
    first = min(min(points) for _, points in lines)
    times = sorted({at for _, points in lines for at in points})
    below = [0.0] * len(times)
    own = line_colors(panel)
    for nth, (label, points) in enumerate(lines):
        ink = own.get(label, f"C{nth}")
        values = [points.get(at, math.nan) for at in times]
        if stacked:
            top = [b + (0 if math.isnan(v) else v) for b, v in zip(below, values)]
            axes.fill_between([at - first for at in times], below, top, color=ink, alpha=0.75, label=label, step="mid", linewidth=0)
            below = top
        else:
            axes.plot([at - first for at in times], values, color=ink, label=label, linewidth=1.3)
    top = max([*below, *(value for _, points in lines for value in points.values() if math.isfinite(value))])
    # Room for the legend.
    axes.set_ylim(min(0, axes.get_ylim()[0]), top * 1.3 or 1)
    if not stacked:
        for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]:
            if kind.get("thresholdsStyle", {}).get("mode") == "line" and step["value"] < top * 1.3:
                axes.axhline(step["value"], color=COLORS[step["color"]], linewidth=0.8, linestyle="--")
    axes.yaxis.set_major_formatter(lambda value, _: number(value, unit))
    axes.legend(fontsize=6, ncols=max(1, panel["gridPos"]["w"] // 3), loc="upper left", framealpha=0.7)
    axes.tick_params(labelsize=6)


def draw_table(axes, panel, answers):
    named, rows, labels = words(panel), {}, []
    for at, answer in enumerate(answers):
        for series in answer:
            shown = {k: v for k, v in series["metric"].items() if k not in ("__name__", "instance", "job")}
            labels = labels or list(shown)
            rows.setdefault(tuple(shown.values()), {})[at] = float(series["value"])
    axes.axis("off")
    if not rows:
        return nothing(axes, panel)
    cells = [
        [named.get(k, k) for k in key] + [number(row.get(at, math.nan), "short") for at in range(len(answers))]
        for key, row in rows.items()
    ][:12]
    heads = labels + [target["legendFormat"] for target in panel["targets"]]
    widths = [max(len(str(line[at])) for line in [heads, *cells]) + 2 for at in range(len(heads))]
    shares = [width / sum(widths) for width in widths]
    table = axes.table(cells, colLabels=heads, colWidths=shares, loc="upper left", cellLoc="left")
    table.auto_set_font_size(False), table.set_fontsize(6.5)


def draw_gauge(axes, panel, answers):
    bars = [(name(t, s["metric"]), float(s["value"])) for t, a in zip(panel["targets"], answers) for s in a]
    if not bars:
        return nothing(axes, panel)
    bars.sort(key=lambda bar: bar[1])
    drawn = axes.barh([label for label, _ in bars], [value for _, value in bars])
    axes.bar_label(drawn, [number(value, "short") for _, value in bars], fontsize=6)
    axes.margins(x=0.12)
    axes.tick_params(labelsize=6)


def draw_heat(axes, panel, answers):
    def edge(series):
        return float(series["metric"]["le"].replace("+Inf", "inf"))

    series = sorted((one for answer in answers for one in answer), key=edge)
    times = sorted({float(at) for one in series for at, _ in one["values"]})
    if len(times) < 2:
        return nothing(axes, panel)
    rows, below = [], dict.fromkeys(times, 0.0)
    for one in series:
        upto = {float(at): float(value) for at, value in one["values"]}
        rows.append([max(0.0, upto.get(at, 0.0) - below[at]) for at in times])
        below = {at: upto.get(at, 0.0) for at in times}
    axes.pcolormesh([at - times[0] for at in times], range(len(rows)), rows, cmap="Blues", shading="nearest")
    axes.set_yticks(range(len(rows)), ["≤ " + number(edge(one), "s") for one in series], fontsize=6)
    axes.tick_params(labelsize=6)


DRAW = {
    "stat": draw_number,
    "timeseries": draw_lines,
    "table": draw_table,
    "bargauge": draw_gauge,
    "heatmap": draw_heat,
}


def main(path):
    found = json.loads(path.read_text())
    dashboard, answers = found["dashboard"], {one["title"]: one["answers"] for one in found["panels"]}
    panels = dashboard["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(24 * CELL, (height + 1) * LINE), dpi=90, facecolor="#f4f5f5")
    figure.text(0.005, 1 - 0.5 / (height + 1), dashboard["title"], fontsize=15, weight="bold", va="center")
    for panel in panels:
        place = panel["gridPos"]
        bottom = 1 - (place["y"] + place["h"] + 1) / (height + 1)
        if panel["type"] == "row":
            figure.text(0.005, bottom + 0.3 / (height + 1), panel["title"], fontsize=11, weight="bold")
            continue
        # Room for the title above, and the axes at the left and below.
        bare = panel["type"] in ("stat", "table")
        left, below = (0.15, 0.15) if bare else ({"bargauge": 2.4, "heatmap": 1.5}.get(panel["type"], 0.9), 0.8)
        box = [
            (place["x"] + left) / 24,
            bottom + below / (height + 1),
            (place["w"] - left - 0.3) / 24,
            (place["h"] - below - 0.9) / (height + 1),
        ]
        axes = figure.add_axes(box)
        axes.set_title(panel["title"], fontsize=8, loc="left", pad=3)
        DRAW[panel["type"]](axes, panel, answers[panel["title"]])
    figure.savefig(path.with_suffix(".png"), facecolor=figure.get_facecolor())


main(pathlib.Path(sys.argv[1]))
