"""A matplotlib figure with images of one photo in a grid, and palettes.

All positions are whole pixels and each image is scaled to its place. A saved figure therefore shows pixels
unchanged, and drawing takes no longer for a large photo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.show.grid_layout import Box, Spacing, largest_grid
from kseg_batch.show.scaled_photo import ScaledPhoto

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from kseg_batch.images.decode import Photo
    from kseg_batch.kmeans.palette import Palette

MAX_WIDTH, MAX_HEIGHT = 12.0, 7.5
"""Greatest size of a figure, in inches."""

GAP, TITLE_HEIGHT, PALETTE_GAP, PALETTE_HEIGHT = 0.15, 0.25, 0.05, 0.4
"""Inches between cells, above each image, between an image and its palette, and of a palette."""

MIN_CELL_WIDTH = 1.6
"""Inches that the widest title needs."""

FONT_SIZE = 9.0
"""Points."""

CHARACTER_WIDTH = 0.65 * FONT_SIZE / 72
"""Inches of a character; most characters are narrower."""

MAX_OUTLINED_CLUSTERS = 32
"""Most clusters whose swatches have white outlines; the outlines would cover narrower swatches."""


class ImageGrid:
    """A figure with images in a grid, added one after the other, and with palettes."""

    def __init__(
        self, figure: Figure, photo: Photo, *, n: int, below: float = 0, footer: float = 0, oversampling: int
    ) -> None:
        """Lay out the figure and set its size.

        Args:
            figure: An empty figure.
            photo: The photo whose images are shown. Its pixels are the coordinates in each image.
            n: Number of images.
            below: Inches below each image.
            footer: Inches below the grid.
            oversampling: Pixels of an image for each pixel of the figure, along each axis.
        """
        self._figure = figure
        self._photo_height, self._photo_width = photo.rgb.shape[:2]
        gap, above, under, min_cell_width, footer_height, max_width, max_height, self._palette_height = (
            round(inches * figure.dpi)
            for inches in (
                GAP, TITLE_HEIGHT, below, MIN_CELL_WIDTH, footer, MAX_WIDTH, MAX_HEIGHT, PALETTE_HEIGHT
            )
        )  # fmt: skip
        aspect = self._photo_width / self._photo_height
        spacing = Spacing(gap, above, under, min_cell_width)
        self._layout = largest_grid(n, aspect, max_width, max_height - footer_height, spacing)
        self._width, self._height = self._layout.width, self._layout.height + footer_height
        figure.set_size_inches(self._width / figure.dpi, self._height / figure.dpi)
        self._cells = self._layout.cells()
        self._cell: Box
        self._first_axes: Axes | None = None
        self._interpolation = "nearest" if oversampling == 1 else None  # images have their final size then
        self.photo = ScaledPhoto.scale_down(
            photo, self._layout.image_width * oversampling, self._layout.image_height * oversampling
        )
        """The photo, scaled to an image of the grid."""

    def add_image(
        self, title: str, rgb: NDArray[np.uint8], frame_color: NDArray[np.uint8] | None = None
    ) -> None:
        """Show an image in the next cell. A window that enlarges one image enlarges all.

        Args:
            title: The text above the image.
            rgb: (h, w, 3) uint8 image.
            frame_color: (3,) uint8 colour of the frame; None for no frame.
        """
        self._cell = next(self._cells)
        box = self._layout.image_box(self._cell)
        axes = self._add_axes(box, shared=self._first_axes)
        self._first_axes = self._first_axes or axes
        extent = (0, self._photo_width, self._photo_height, 0)
        axes.imshow(rgb, extent=extent, interpolation=self._interpolation)
        axes.set_aspect((box.height / self._photo_height) / (box.width / self._photo_width))
        axes.set_title(title, fontsize=FONT_SIZE, pad=4)
        axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
        for spine in axes.spines.values():
            if frame_color is None:
                spine.set_visible(False)
            else:
                spine.set(edgecolor=tuple(frame_color / 255), linewidth=2.5)

    def add_palette_below(self, palette: Palette) -> None:
        """Show a palette below the last image."""
        cell, height = self._cell, self._palette_height
        self._draw_palette(Box(cell.left, cell.top + cell.height - height, cell.width, height), palette)

    def add_palette_footer(self, palette: Palette) -> None:
        """Show a palette below the grid."""
        gap = self._layout.spacing.gap
        box = Box(gap, self._layout.height, self._width - 2 * gap, self._palette_height)
        self._draw_palette(box, palette)

    def _draw_palette(self, box: Box, palette: Palette) -> None:
        """Draw a swatch for each cluster, as wide as its share, labelled where the text fits."""
        axes = self._add_axes(box)
        axes.set_axis_off()
        axes.set_navigate(False)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        shares = palette.counts / palette.counts.sum()
        starts = np.cumsum(shares) - shares
        colors = palette.colors / 255
        axes.broken_barh(
            list(zip(starts, shares, strict=True)),
            (0, 1),
            facecolors=colors,
            edgecolor="white",
            linewidth=0.5 if len(shares) <= MAX_OUTLINED_CLUSTERS else 0,
        )
        for cluster, (start, share, color) in enumerate(zip(starts, shares, colors, strict=True)):
            label = _swatch_label(cluster, share, share * box.width / self._figure.dpi)
            text_color = "white" if color @ (0.299, 0.587, 0.114) < 0.5 else "black"
            axes.text(
                start + share / 2,
                0.5,
                label,
                color=text_color,
                fontsize=FONT_SIZE,
                ha="center",
                va="center_baseline",
            )

    def _add_axes(self, box: Box, shared: Axes | None = None) -> Axes:
        """Add axes that fill a box, and share the limits of other axes."""
        left, bottom = box.left / self._width, 1 - (box.top + box.height) / self._height
        rectangle = (left, bottom, box.width / self._width, box.height / self._height)
        return self._figure.add_axes(rectangle, sharex=shared, sharey=shared)


def _swatch_label(cluster: int, share: float, inches: float) -> str:
    """Return the number and share of a cluster, the number alone, or "", whichever fits into a width."""
    for label in (f"{cluster}\n{format_percent(share)}", f"{cluster}"):
        longest_line = max(map(len, label.splitlines()))
        if longest_line + 1 < inches / CHARACTER_WIDTH:
            return label
    return ""


def format_percent(fraction: float) -> str:
    """Return a fraction as a percentage, such as 12.5%."""
    return "<0.1%" if 0 < fraction < 0.0005 else f"{100 * fraction:.1f}%"
