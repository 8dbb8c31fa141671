"""The layout of a figure: images of one aspect ratio in a grid, in whole pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_ASPECT = 1 / 40
"""Smallest ratio of the shorter to the longer side of an image; slimmer photos are shown wider."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels. The origin is the upper left corner of the figure."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Spacing:
    """The space around each image, in pixels."""

    gap: int
    """Between neighbouring cells, and at the edges of the figure."""
    above: int
    """Above an image, for its title."""
    below: int
    """Below an image, for its palette."""
    min_cell_width: int
    """Width that titles need."""


@dataclass(frozen=True, slots=True)
class GridLayout:
    """Equal cells in rows. Each image is centred in its cell, below the title."""

    columns: int
    rows: int
    image_width: int
    image_height: int
    spacing: Spacing

    @property
    def cell_width(self) -> int:
        """Width of the image or of its title, whichever is wider."""
        return max(self.image_width, self.spacing.min_cell_width)

    @property
    def cell_height(self) -> int:
        """Height of an image with the space above and below."""
        return self.spacing.above + self.image_height + self.spacing.below

    @property
    def width(self) -> int:
        """Width of all cells with the gaps around them."""
        return self.columns * self.cell_width + (self.columns + 1) * self.spacing.gap

    @property
    def height(self) -> int:
        """Height of all cells with the gaps around them."""
        return self.rows * self.cell_height + (self.rows + 1) * self.spacing.gap

    def cells(self) -> Iterator[Box]:
        """Yield the cells, row by row."""
        gap = self.spacing.gap
        for row in range(self.rows):
            for column in range(self.columns):
                left = gap + column * (self.cell_width + gap)
                top = gap + row * (self.cell_height + gap)
                yield Box(left, top, self.cell_width, self.cell_height)

    def image_box(self, cell: Box) -> Box:
        """Return the place of the image in a cell."""
        left = cell.left + (self.cell_width - self.image_width) // 2
        return Box(left, cell.top + self.spacing.above, self.image_width, self.image_height)


def largest_grid(n: int, aspect: float, max_width: int, max_height: int, spacing: Spacing) -> GridLayout:
    """Return the layout with the largest images; of several, that with the fewest columns.

    Args:
        n: Number of images.
        aspect: Width of each image divided by its height.
        max_width: Greatest width of the figure.
        max_height: Greatest height of the figure; exceeded if images would be less than a pixel high.
        spacing: The space around each image.
    """
    aspect = min(max(aspect, MIN_ASPECT), 1 / MIN_ASPECT)
    max_columns = max(1, (max_width - spacing.gap) // (spacing.min_cell_width + spacing.gap))
    layouts = [
        _layout_in_columns(n, columns, aspect, max_width, max_height, spacing)
        for columns in range(1, max_columns + 1)
    ]
    return max(layouts, key=lambda layout: layout.image_height)


def _layout_in_columns(
    n: int, columns: int, aspect: float, max_width: int, max_height: int, spacing: Spacing
) -> GridLayout:
    """Return the layout with the largest images in a given number of columns."""
    rows = -(-n // columns)
    available_width = (max_width - spacing.gap) / columns - spacing.gap
    available_height = (max_height - spacing.gap) / rows - spacing.gap - spacing.above - spacing.below
    image_height = max(1.0, min(available_height, available_width / aspect))
    image_width = max(1, round(image_height * aspect))
    return GridLayout(min(columns, n), rows, image_width, round(image_height), spacing)
