"""A matplotlib figure with pictures of one photo in a grid, and palettes.

Everything stands at whole pixels and each picture is scaled to its place, so that a saved figure shows pixels
as they are and takes no longer for a large photo.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from kseg_batch.images.decode import Photo
    from kseg_batch.kmeans.palette import Palette

WIDTH, HEIGHT = 12.0, 7.5
"""Inches that a figure has at most."""

GAP, TITLE, RIM, BAR, LEAST_WIDTH = 0.15, 0.25, 0.05, 0.4, 1.6
"""Inches between pictures, above each, between one and its palette, for a palette, for the widest title."""

FONT_SIZE = 9.0
"""Points."""

CHARACTER = 0.65 * FONT_SIZE / 72
"""Inches that a character takes, most often less."""

MOST_LINES = 32
"""Clusters that white lines part in a palette; where there are more, there would be little else."""

SQUARES = 24
"""Of the checkerboard that stands for transparency, along the longer side of a picture."""

SLIMMEST = 1 / 40
"""Width by height, or the other way round, of the slimmest picture; slimmer ones are shown this wide."""


def percent(fraction: float) -> str:
    """A part of the whole in per cent."""
    return "<0.1%" if 0 < fraction < 0.0005 else f"{100 * fraction:.1f}%"


@dataclass(frozen=True, slots=True, eq=False)
class ScaledPhoto:
    """A photo at the size at which it is shown."""

    photo: NDArray[np.uint8]
    """(h, w, 3) uint8, with a checkerboard where it is transparent."""
    opaque: NDArray[np.bool_] | None
    """(h, w) False where it is; None where it is nowhere."""

    @classmethod
    def of(cls, photo: Photo, width: int, height: int) -> ScaledPhoto:
        """Scale a photo down until it is no wider and no higher than that."""
        rgb, opaque = photo.rgb, photo.opaque
        if opaque is not None:  # what is hidden must not bleed into what is seen
            rgb = np.where(opaque[..., None], rgb, np.uint8(255))
        size = min(width, rgb.shape[1]), min(height, rgb.shape[0])
        if size != rgb.shape[1::-1]:
            cv2 = import_cv2()
            rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        if opaque is None:
            return cls(rgb, None)
        view = cls(rgb, _nearest(opaque.view(np.uint8), size).astype(bool))
        return replace(view, photo=view.on_checkerboard(rgb))

    def scaled(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(h, w) of the (H, W) labels."""
        return _nearest(labels, (self.photo.shape[1], self.photo.shape[0]))

    def segmented(self, labels: NDArray[np.uint8], palette: Palette) -> NDArray[np.uint8]:
        """(h, w, 3) uint8: each pixel in the colour of its centre, by its (H, W) label."""
        return self.on_checkerboard(palette.colors[self.scaled(labels)])

    def on_checkerboard(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The (h, w, 3) picture with a checkerboard where the photo is transparent."""
        if self.opaque is None:
            return picture
        side = max(1, max(self.opaque.shape) // SQUARES)
        y, x = (np.arange(n) // side for n in self.opaque.shape)
        board = np.where((y[:, None] + x) % 2, np.uint8(205), np.uint8(255))
        return np.where(self.opaque[..., None], picture, board[..., None])


def _nearest(values: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W) values at another width and height."""
    if size == values.shape[::-1]:
        return values
    cv2 = import_cv2()
    scaled: NDArray[np.uint8] = cv2.resize(values, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return scaled


class ImageGrid:
    """A figure with pictures in a grid, of which one after the other is put in its place, and palettes."""

    def __init__(
        self, figure: Figure, photo: Photo, *, n: int, below: float = 0, foot: float = 0, detail: int
    ) -> None:
        """Divide the figure, and give it its size.

        Args:
            figure: It.
            photo: What pictures show, of which the pixels are the coordinates in each.
            n: Pictures.
            below: Inches below each.
            foot: Inches below all.
            detail: Pixels of pictures for one of the figure, each way.
        """
        self._figure = figure
        self._photo_height, self._photo_width = photo.rgb.shape[:2]
        gap, above, under, least_width, at_foot, width, height, self._bar = (
            round(inches * figure.dpi)
            for inches in (GAP, TITLE, below, LEAST_WIDTH, foot, WIDTH, HEIGHT, BAR)
        )
        aspect = self._photo_width / self._photo_height
        self._grid = largest_grid(n, aspect, width, height - at_foot, Spacing(gap, above, under, least_width))
        self._width, self._height = self._grid.width, self._grid.height + at_foot
        figure.set_size_inches(self._width / figure.dpi, self._height / figure.dpi)
        self._cells = self._grid.cells()
        self._cell: Box
        self._first: Axes | None = None
        self._interpolation = "nearest" if detail == 1 else None  # of pixels that have their size already
        self.view = ScaledPhoto.of(
            photo, self._grid.picture_width * detail, self._grid.picture_height * detail
        )

    def picture(self, title: str, picture: NDArray[np.uint8], frame: NDArray[np.uint8] | None = None) -> None:
        """Show the next picture, framed in a colour. Where a window enlarges one, it enlarges all."""
        self._cell = next(self._cells)
        box = self._grid.picture(self._cell)
        axes = self._axes(box, shared=self._first)
        self._first = self._first or axes
        extent = (0, self._photo_width, self._photo_height, 0)
        axes.imshow(picture, extent=extent, interpolation=self._interpolation)
        axes.set_aspect((box.height / self._photo_height) / (box.width / self._photo_width))
        axes.set_title(title, fontsize=FONT_SIZE, pad=4)
        axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
        for spine in axes.spines.values():
            if frame is None:
                spine.set_visible(False)
            else:
                spine.set(edgecolor=tuple(frame / 255), linewidth=2.5)

    def palette_below(self, palette: Palette) -> None:
        """Show the palette of the last picture."""
        cell = self._cell
        self._palette(Box(cell.left, cell.top + cell.height - self._bar, cell.width, self._bar), palette)

    def palette_at_foot(self, palette: Palette) -> None:
        """Show a palette below all pictures."""
        gap = self._grid.spacing.gap
        self._palette(Box(gap, self._grid.height, self._width - 2 * gap, self._bar), palette)

    def _palette(self, box: Box, palette: Palette) -> None:
        """The colours of clusters, as wide as their shares, and as many numbers as there is room for."""
        axes = self._axes(box)
        axes.set_axis_off()
        axes.set_navigate(False)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        shares = palette.counts / palette.counts.sum()
        starts = np.cumsum(shares) - shares
        colors = palette.colors / 255
        line = 0.5 if len(shares) <= MOST_LINES else 0
        axes.broken_barh(
            list(zip(starts, shares, strict=True)),
            (0, 1),
            facecolors=colors,
            edgecolor="white",
            linewidth=line,
        )
        for cluster, (start, part, color) in enumerate(zip(starts, shares, colors, strict=True)):
            room = part * box.width / self._figure.dpi / CHARACTER
            texts = (f"{cluster}\n{percent(part)}", f"{cluster}", "")
            label = next(text for text in texts if not text or _longest(text) + 1 < room)
            ink = "white" if color @ (0.299, 0.587, 0.114) < 0.5 else "black"
            axes.text(
                start + part / 2, 0.5, label, color=ink, fontsize=FONT_SIZE, ha="center", va="center_baseline"
            )

    def _axes(self, box: Box, shared: Axes | None = None) -> Axes:
        left, bottom = box.left / self._width, 1 - (box.top + box.height) / self._height
        rectangle = (left, bottom, box.width / self._width, box.height / self._height)
        return self._figure.add_axes(rectangle, sharex=shared, sharey=shared)


def _longest(text: str) -> int:
    """Characters of the longest line."""
    return max(map(len, text.splitlines()))


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of a figure whose origin is its upper left corner."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Spacing:
    """What stands around each picture."""

    gap: int
    """Between neighbours, and at the edges of the figure."""
    above: int
    """For a title."""
    below: int
    """For what belongs to the picture."""
    least_width: int
    """What the words above and below take."""


@dataclass(frozen=True, slots=True)
class GridLayout:
    """Equal cells in rows; each picture is in the middle of its own, below the room for its title."""

    columns: int
    rows: int
    picture_width: int
    picture_height: int
    spacing: Spacing

    @property
    def cell_width(self) -> int:
        """Of the picture or of the words, whichever is wider."""
        return max(self.picture_width, self.spacing.least_width)

    @property
    def cell_height(self) -> int:
        """With what stands above and below the picture."""
        return self.spacing.above + self.picture_height + self.spacing.below

    @property
    def width(self) -> int:
        """Of all cells, with the gaps around them."""
        return self.columns * self.cell_width + (self.columns + 1) * self.spacing.gap

    @property
    def height(self) -> int:
        """Of all cells, with the gaps around them."""
        return self.rows * self.cell_height + (self.rows + 1) * self.spacing.gap

    def cells(self) -> Iterator[Box]:
        """Every cell, row by row."""
        gap = self.spacing.gap
        for row in range(self.rows):
            for column in range(self.columns):
                left = gap + column * (self.cell_width + gap)
                top = gap + row * (self.cell_height + gap)
                yield Box(left, top, self.cell_width, self.cell_height)

    def picture(self, cell: Box) -> Box:
        """Where the picture of a cell is."""
        left = cell.left + (self.cell_width - self.picture_width) // 2
        return Box(left, cell.top + self.spacing.above, self.picture_width, self.picture_height)


def largest_grid(n: int, aspect: float, width: int, height: int, spacing: Spacing) -> GridLayout:
    """The grid of n pictures that are as large as a figure has room for, in the fewest columns of those.

    Args:
        n: Pictures.
        aspect: Width of each by its height.
        width: Of the figure, at most.
        height: Of the figure, at most, but for pictures that are not to be thinner than a line.
        spacing: What stands around each.
    """
    aspect = min(max(aspect, SLIMMEST), 1 / SLIMMEST)
    most_columns = max(1, (width - spacing.gap) // (spacing.least_width + spacing.gap))
    grids = [_grid(n, columns, aspect, width, height, spacing) for columns in range(1, most_columns + 1)]
    return max(grids, key=lambda grid: grid.picture_height)


def _grid(n: int, columns: int, aspect: float, width: int, height: int, spacing: Spacing) -> GridLayout:
    """The largest pictures in so many columns."""
    rows = -(-n // columns)
    room_across = (width - spacing.gap) / columns - spacing.gap
    room_down = (height - spacing.gap) / rows - spacing.gap - spacing.above - spacing.below
    picture_height = max(1.0, min(room_down, room_across / aspect))
    picture_width = max(1, round(picture_height * aspect))
    return GridLayout(min(columns, n), rows, picture_width, round(picture_height), spacing)
