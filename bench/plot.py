#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws the table of medians that a benchmark prints at its end, a group of bars for each setting.

    build/release/bench/queue_push | bench/plot.py "a push of 8 bytes" bench/plots/queue_push.svg

Needs matplotlib (apt-get install python3-matplotlib).
"""
import re
import sys

# Okabe and Ito's colours, which all eyes can tell apart.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#999999", "#F0E442", "#000000"]


def read(lines):
    """{setting: {contestant: nanoseconds}}, in the order of the numbers in a setting."""
    groups = {}
    for line in lines:
        row = re.match(r"(\d.*?)\s{2,}(\S.*?)\s{2,}(\d+\.\d+)(\s|$)", line)
        if row:
            groups.setdefault(row[1], {})[row[2]] = float(row[3])
    return dict(sorted(groups.items(), key=lambda group: (len(re.findall(r"partitions", group[0])), numbers(group[0]))))


def numbers(text):
    return [int(number) for number in re.findall(r"\d+", text)]


MOST = 50  # times the fastest of its setting: bars of more would leave no room for others


def without_slowest(group):
    return {name: time for name, time in group.items() if time <= MOST * min(group.values())}


def draw(groups, title, path):
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    groups = {setting: without_slowest(group) for setting, group in groups.items()}
    names = {name for group in groups.values() for name in group}
    names = sorted(names, key=lambda name: ("tidefall" not in name, name))
    ours = [name for name in names if "tidefall" in name]
    rivals = [name for name in names if name not in ours]
    colour = {name: COLOURS[0] for name in ours} | dict(zip(rivals, COLOURS[1:]))
    figure, axes = plt.subplots(figsize=(9, 1.0 + 0.24 * sum(len(group) + 1 for group in groups.values())))
    place, ticks, labels = 0.0, [], []
    for setting, group in groups.items():
        start = place
        for name in names:
            if name not in group:
                continue
            axes.barh(place, group[name], 0.85, color=colour[name])
            axes.text(group[name], place, f" {group[name]:.1f}", va="center", fontsize=8)
            place += 1
        ticks.append((start + place - 1) / 2)
        labels.append(re.sub(r"\b1 (producer|thread)s", r"1 \1", setting).replace(", ", "\n", 1))
        place += 0.8
    axes.set_yticks(ticks, labels, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel(f"nanoseconds, median: less is better; what takes over {MOST} times the least is left out")
    axes.set_title(title, fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    marks = {"tidefall" if name in ours else name: plt.Rectangle((0, 0), 1, 1, color=colour[name]) for name in names}
    axes.legend(marks.values(), marks.keys(), fontsize=8, frameon=False, ncol=4, loc="lower left", bbox_to_anchor=(0, 1.03))
    plt.rcParams["svg.hashsalt"] = "tidefall"  # the same input makes the same file
    figure.savefig(path, bbox_inches="tight", facecolor="white", metadata={"Date": None})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    table = read(sys.stdin)
    if not table:
        sys.exit("no table of medians in the input")
    draw(table, sys.argv[1], sys.argv[2])
