"""What the plots share: figures, colours, titles, legends and time axes.

Blue and vermilion are of Okabe and Ito's palette: they differ to people of any colour vision, and stand out on white
and on black. All else takes the colours of the `Axes`, so that it suits the user's style.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rcParams
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nbfutures.views.clean import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.typing import ColorType

__all__ = [
    "FAILED",
    "HATCH",
    "PLAIN_TEXT",
    "RUNNING",
    "SMALL",
    "WAITING",
    "height_points",
    "ink",
    "label_span",
    "label_time",
    "label_units",
    "new_axes",
    "paper",
    "points",
    "show_heading",
    "show_note",
    "width_points",
]

RUNNING = "#0072B2"
FAILED = "#D55E00"
WAITING = "#888888"
HATCH = "//////"
SMALL = "small"
"""Font size of legends and marks."""
PLAIN_TEXT: dict[str, Any] = {"parse_math": False, "usetex": False}
"""For text from elsewhere: a dollar sign is a dollar sign."""

_TIME_UNITS = ((2 * 86_400.0, 86_400.0, "days"), (2 * 3_600.0, 3_600.0, "h"), (180.0, 60.0, "min"))
"""From which span in seconds on, the unit in seconds, and its name."""
_STEPS = [1, 2, 2.5, 5, 10]
_DARK = 0.5
_INCH = 72.0
_MARGIN = 60.0
"""Points that the labels at the left may need."""
_LETTER = 0.57
"""Width of a letter as a share of the font's size, somewhat more than most."""
_ROW_GAP = 0.3
_LEGEND_GAPS = {"handlelength": 1.6, "handletextpad": 0.5, "columnspacing": 1.4}
"""In font sizes."""


def new_axes(height: float | None = None) -> Axes:
    """Return the `Axes` of a new figure of pyplot, in the user's width.

    Args:
        height: In inches; the user's own if not given.
    """
    # Not before it is needed: who passes an `Axes` may do without pyplot, as in a web server.
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(layout="constrained")
    if height is not None:
        figure.set_figheight(height)
    return ax


def ink(ax: Axes) -> ColorType:
    """Return the colour of the text."""
    return ax.xaxis.label.get_color()


def paper(ax: Axes) -> ColorType:
    """Return the colour of the background; where it is transparent, one that the text can be read on."""
    for colour in (ax.get_facecolor(), ax.figure.get_facecolor()):
        red, green, blue, alpha = to_rgba(colour)
        if alpha:
            return red, green, blue
    return "white" if sum(to_rgba(ink(ax))[:3]) / 3 < _DARK else "black"


def show_heading(ax: Axes, title: str, handles: Sequence[Any] | None = None, labels: Sequence[str] = ()) -> None:
    """Put the title above the legend, and the legend above the data, where it covers none of them.

    Args:
        ax: Drawn on.
        title: Text from elsewhere; cut to the width of the `Axes`.
        handles: What the legend shows; what has a label, if not given. An empty one makes no legend.
        labels: One for each of the handles.
    """
    if handles is None:
        handles, labels = ax.get_legend_handles_labels()
    gap = 6.0
    if handles:
        size = points(SMALL)
        columns = _columns(labels, width_points(ax) / size)
        legend = ax.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=columns,
            fontsize=SMALL,
            frameon=False,
            borderpad=0.2,
            borderaxespad=0.2,
            labelspacing=_ROW_GAP,
            **_LEGEND_GAPS,
        )
        # Its height is part of the title's; by its width, the plot would be made as narrow as the rest of the figure.
        legend.set_in_layout(False)
        gap += (1.4 + _ROW_GAP) * size * -(-len(handles) // columns)
    letters = width_points(ax) / (_LETTER * points(rcParams["axes.titlesize"]))
    ax.set_title(plain(title, max(int(letters), 10)), loc="left", pad=gap, **PLAIN_TEXT)
    ax.spines[["top", "right"]].set_visible(False)


def _columns(labels: Sequence[str], width: float) -> int:
    """Return how many entries of a legend fit in a line.

    Args:
        labels: What the entries say.
        width: Of the `Axes`, in font sizes.
    """
    gaps = sum(_LEGEND_GAPS.values())
    columns = len(labels)
    while columns > 1:
        # The columns of a legend are as wide as the widest of their entries.
        widest = (max(map(len, labels[at::columns])) for at in range(columns))
        if sum(_LETTER * letters + gaps for letters in widest) <= width:
            break
        columns -= 1
    return columns


def points(size: float | str) -> float:
    """Return the size of a font in points; some are given in words."""
    return FontProperties(size=size).get_size_in_points()


def width_points(ax: Axes) -> float:
    """Return about how wide an `Axes` will be, in points."""
    figure, place = ax.get_figure(root=True), ax.get_subplotspec()
    width = ax.get_window_extent().width / ax.figure.dpi * _INCH
    if figure is None or figure.get_layout_engine() is None or place is None or ax.figure is not figure:
        return width
    # It has not been laid out yet: that will leave what the labels at its left do not need.
    share = len(place.colspan) / place.get_gridspec().ncols
    return max(share * figure.get_figwidth() * _INCH - _MARGIN, width)


def height_points(ax: Axes) -> float:
    """Return the height of an `Axes` in points, as far as it is known before the figure is laid out."""
    return ax.get_window_extent().height / ax.figure.dpi * _INCH


def show_note(ax: Axes, title: str, text: str) -> Axes:
    """Put a sentence where there is nothing to draw."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center")
    ax.set(xticks=[], yticks=[])
    show_heading(ax, title, [])
    return ax


def label_time(ax: Axes, end: float, progress: str) -> None:
    """Make the horizontal axis one of seconds since the job was submitted, labelled in a unit that suits.

    Args:
        ax: Drawn on.
        end: Where the axis ends, in seconds.
        progress: How much of the job there is to see; empty for all.
    """
    # Without a span, matplotlib would warn and choose one of its own.
    ax.set_xlim(0, end or 1)
    name = label_span(ax.xaxis, end, "time since the start")
    ax.set_xlabel(f"{name} \N{EN DASH} {progress}" if progress else name)


def label_span(axis: Axis, span: float, name: str) -> str:
    """Label the ticks of an axis of seconds in a unit that suits, and return the axis' name with the unit."""
    unit, unit_name = next(((one, told) for least, one, told in _TIME_UNITS if span >= least), (1.0, "s"))
    if unit != 1:
        label_units(axis, unit)
    return f"{name} ({unit_name})"


def label_units(axis: Axis, unit: float) -> None:
    """Put the ticks of an axis at round numbers of a unit, and label them in it; the data stay as they are."""
    axis.set_major_locator(_UnitLocator(unit))
    axis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value / unit:.10g}"))


class _UnitLocator(MaxNLocator):
    """Ticks at round numbers of a unit that is not the data's."""

    def __init__(self, unit: float) -> None:
        super().__init__(nbins="auto", steps=_STEPS)
        self._unit = unit

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        ticks = np.asarray(super().tick_values(vmin / self._unit, vmax / self._unit))
        return ticks * self._unit  # type: ignore[return-value]  # as its base class does
