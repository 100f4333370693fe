"""Draws results.json of a directory as results.svg and results.png beside it."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PANELS = [
    ("adding", "ns a call of addOrder with 9 columns, interpreted", "addOrder, 9 columns: "),
    ("end-to-end", "matches confirmed a second, synthetic flow", "synthetic flow: "),
    ("end-to-end", "groups confirmed a second, Bitstamp flow", "Bitstamp flow: "),
    ("latency", "ms from add to commit, at 5,000 matches a second", "journal "),
]


def main(directory: Path) -> None:
    results = json.loads((directory / "results.json").read_text())
    panels = []
    for section, title, prefix in PANELS:
        figures = [
            f
            for f in results["figures"]
            # The best ceiling stands among its forms.
            if f["section"] == section and f["subject"].startswith(prefix) and f["subject"] != prefix + "ceiling" and f["unit"] != "of wall time"
        ]
        if figures:
            panels.append((title, prefix, figures))
    if not panels:
        return
    heights = [len(figures) for _, _, figures in panels]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(10, 0.32 * sum(heights) + 1.1 * len(panels)), squeeze=False, height_ratios=heights
    )
    for axis, (title, prefix, figures) in zip(axes[:, 0], panels):
        names = [f["subject"][len(prefix) :] for f in figures]
        # Latency has no other subject.
        ours = [f["section"] == "latency" or "WriteBuffer" in f["subject"] for f in figures]
        medians = [f["median"] for f in figures]
        below = [f["median"] - min(f["samples"]) for f in figures]
        above = [max(f["samples"]) - f["median"] for f in figures]
        colours = ["tab:blue" if own else "tab:gray" for own in ours]
        axis.barh(names, medians, xerr=[below, above], color=colours, error_kw={"elinewidth": 1})
        axis.invert_yaxis()
        axis.set_title(title, fontsize=10, loc="left")
        axis.tick_params(labelsize=8)
    kind = "a quick look" if results["quick"] else f"medians of {results['runs']} runs, with the range"
    figure.suptitle(f"{kind}; {results['machine']['processors']}, {results['machine']['database']}", fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 / figure.get_figheight()))
    for suffix in ("svg", "png"):
        figure.savefig(directory / f"results.{suffix}", dpi=120)
    print(f"plot: {directory}/results.svg and .png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
