"""What the window shows: the segmented frame, the original beside it if wanted, the palette, and text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.live.picture import RenderedFrame

MOST = (1280, 640)
"""Width and height that the pictures are scaled down to; a small one is enlarged by whole numbers."""

LEAST_WIDTH = 640
"""That the text needs."""

PALETTE_HEIGHT, TEXT_HEIGHT = 34, 26
FONT_SCALE = 0.5
SHARE_WIDTH, NUMBER_WIDTH = 66, 22
"""Of a swatch, above which there is room for its cluster's share and number, or for the number."""

PAPER, INK, FAINT = (32, 32, 32), (235, 235, 235), (150, 150, 150)  # B, G, R
KEYS = "q quit | space pause | 0-9 cluster | o original | s snapshot | r re-seed"


@dataclass
class ViewState:
    """What somebody at the keyboard has chosen."""

    disabled: set[int] = field(default_factory=set)
    """Clusters that are black."""
    beside: bool = False
    """Whether the original is shown beside the segmented frame."""
    paused: bool = False


def compose(picture: RenderedFrame, view: ViewState, rate: float) -> NDArray[np.uint8]:
    """The (H, W, 3) uint8 window in OpenCV's order, B, G, R; `rate` is in frames a second."""
    cv2 = import_cv2()
    parts = [picture.rgb, picture.frame.rgb] if view.beside else [picture.rgb]
    height, width = picture.rgb.shape[:2]
    scale = min(MOST[0] / (width * len(parts)), MOST[1] / height)
    if scale >= 1:
        scale, how = int(scale), cv2.INTER_NEAREST
    else:
        how = cv2.INTER_AREA
    size = max(1, round(width * scale)), max(1, round(height * scale))
    scaled = [cv2.resize(part, size, interpolation=how) for part in parts]
    top = cv2.cvtColor(np.concatenate(scaled, axis=1), cv2.COLOR_RGB2BGR)
    total = max(top.shape[1], LEAST_WIDTH)
    window = np.full((size[1] + PALETTE_HEIGHT + TEXT_HEIGHT, total, 3), PAPER, np.uint8)
    left = (total - top.shape[1]) // 2
    window[: size[1], left : left + top.shape[1]] = top
    _draw_palette(window[size[1] : size[1] + PALETTE_HEIGHT], picture)
    _draw_text(window[size[1] + PALETTE_HEIGHT :], picture, view, rate)
    return window


def _draw_palette(strip: NDArray[np.uint8], picture: RenderedFrame) -> None:
    """A swatch for each cluster, with its number and its share of the pixels; crossed out where disabled."""
    cv2 = import_cv2()
    palette = picture.tracked.palette
    edges = np.linspace(0, strip.shape[1], len(palette.counts) + 1).astype(int)
    shares = 100 * palette.counts / palette.counts.sum()
    for cluster, (color, share) in enumerate(zip(palette.colors.tolist(), shares, strict=True)):
        left, right = int(edges[cluster]), int(edges[cluster + 1])
        swatch = strip[:, left:right]
        swatch[:] = color[::-1]
        ink = (0, 0, 0) if sum(color) > 380 else (255, 255, 255)
        text = f"{cluster}: {share:.0f}%" if right - left >= SHARE_WIDTH else str(cluster)
        if right - left >= NUMBER_WIDTH:
            cv2.putText(
                strip, text, (left + 5, 22), cv2.FONT_HERSHEY_SIMPLEX, FONT_SCALE, ink, 1, cv2.LINE_AA
            )
        if cluster in picture.disabled:
            cv2.line(strip, (left, PALETTE_HEIGHT - 1), (right - 1, 0), ink, 2, cv2.LINE_AA)


def _draw_text(line: NDArray[np.uint8], picture: RenderedFrame, view: ViewState, rate: float) -> None:
    cv2 = import_cv2()
    state = "paused" if view.paused else f"{rate:.1f} frames/s"
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(line, f"{state}", (5, 18), font, FONT_SCALE, INK, 1, cv2.LINE_AA)
    cv2.putText(line, KEYS, (130, 17), font, 0.8 * FONT_SCALE, FAINT, 1, cv2.LINE_AA)
    number = f"frame {picture.frame.number}"
    (width, _), _ = cv2.getTextSize(number, font, 0.8 * FONT_SCALE, 1)
    cv2.putText(line, number, (line.shape[1] - width - 5, 17), font, 0.8 * FONT_SCALE, FAINT, 1, cv2.LINE_AA)
