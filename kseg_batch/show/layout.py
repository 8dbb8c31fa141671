"""Where pictures of one shape stand in a figure, so that they are as large as they can be. In pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SLIMMEST = 1 / 40
"""Width by height, or the other way round, of the slimmest picture; slimmer ones are shown this wide."""


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
