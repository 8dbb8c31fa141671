"""The content of the window: the segmented frame, the original beside it on request, the palette and text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kseg_batch.optional import import_cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kseg_batch.live.rendered_frame import RenderedFrame

MAX_FRAMES_WIDTH, MAX_FRAMES_HEIGHT = 1280, 640
"""Pixels that the frames fill at most: larger frames are scaled down, smaller ones up by a whole number."""

MIN_WINDOW_WIDTH = 640
"""Pixels that the text needs."""

PALETTE_HEIGHT, TEXT_HEIGHT = 34, 26
"""Pixels of the two strips below the frames."""

FONT_SCALE, SMALL_FONT_SCALE = 0.5, 0.4

MIN_SHARE_WIDTH, MIN_NUMBER_WIDTH = 66, 22
"""Pixels of a swatch that hold its cluster's number and share, or the number alone."""

LIGHT_SWATCH = 380
"""Sum of R, G and B above which a swatch is labelled in black."""

BACKGROUND, TEXT_COLOR, MUTED_TEXT_COLOR = (32, 32, 32), (235, 235, 235), (150, 150, 150)
"""B, G, R."""

KEYS = "q quit | space pause | 0-9 cluster | o original | s snapshot | r re-seed"


@dataclass
class ViewState:
    """The settings of the window that keys change."""

    disabled: set[int] = field(default_factory=set)
    """Numbers of the clusters that are painted black."""
    show_original: bool = False
    """Whether the original is shown beside the segmented frame."""
    paused: bool = False
    """Whether reading is paused."""


def render_window(rendered: RenderedFrame, view: ViewState, frame_rate: float) -> NDArray[np.uint8]:
    """Return the content of the window.

    Args:
        rendered: The frame to show.
        view: The settings of the window.
        frame_rate: The measured frames per second, for the text.

    Returns:
        (H, W, 3) uint8 pixels in OpenCV's order, B, G, R.
    """
    frames = _scale_frames([rendered.rgb, rendered.frame.rgb] if view.show_original else [rendered.rgb])
    height, width = frames.shape[:2]
    window_width = max(width, MIN_WINDOW_WIDTH)
    window = np.full((height + PALETTE_HEIGHT + TEXT_HEIGHT, window_width, 3), BACKGROUND, np.uint8)
    left = (window_width - width) // 2
    window[:height, left : left + width] = frames
    _draw_palette(window[height : height + PALETTE_HEIGHT], rendered)
    _draw_text(window[height + PALETTE_HEIGHT :], rendered, view, frame_rate)
    return window


def _scale_frames(frames: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return (h, w, 3) B, G, R: (H, W, 3) R, G, B frames of one size, side by side, scaled to the window."""
    cv2 = import_cv2()
    height, width = frames[0].shape[:2]
    scale = min(MAX_FRAMES_WIDTH / (width * len(frames)), MAX_FRAMES_HEIGHT / height)
    if scale >= 1:
        scale, interpolation = int(scale), cv2.INTER_NEAREST
    else:
        interpolation = cv2.INTER_AREA
    size = max(1, round(width * scale)), max(1, round(height * scale))
    scaled = [cv2.resize(frame, size, interpolation=interpolation) for frame in frames]
    bgr: NDArray[np.uint8] = cv2.cvtColor(np.concatenate(scaled, axis=1), cv2.COLOR_RGB2BGR)
    return bgr


def _draw_palette(strip: NDArray[np.uint8], rendered: RenderedFrame) -> None:
    """Draw a swatch for each cluster, with its number and share; cross out the disabled clusters."""
    cv2 = import_cv2()
    palette = rendered.tracked.palette
    edges = np.linspace(0, strip.shape[1], len(palette.counts) + 1).astype(int)
    percentages = 100 * palette.counts / palette.counts.sum()
    for cluster, (color, percentage) in enumerate(zip(palette.colors.tolist(), percentages, strict=True)):
        left, right = int(edges[cluster]), int(edges[cluster + 1])
        strip[:, left:right] = color[::-1]
        text_color = (0, 0, 0) if sum(color) > LIGHT_SWATCH else (255, 255, 255)
        text = f"{cluster}: {percentage:.0f}%" if right - left >= MIN_SHARE_WIDTH else str(cluster)
        if right - left >= MIN_NUMBER_WIDTH:
            _put_text(strip, text, (left + 5, 22), FONT_SCALE, text_color)
        if cluster in rendered.disabled:
            cv2.line(strip, (left, PALETTE_HEIGHT - 1), (right - 1, 0), text_color, 2, cv2.LINE_AA)


def _draw_text(strip: NDArray[np.uint8], rendered: RenderedFrame, view: ViewState, frame_rate: float) -> None:
    """Draw the frame rate, the keys and the frame number."""
    cv2 = import_cv2()
    status = "paused" if view.paused else f"{frame_rate:.1f} frames/s"
    _put_text(strip, status, (5, 18), FONT_SCALE, TEXT_COLOR)
    _put_text(strip, KEYS, (130, 17), SMALL_FONT_SCALE, MUTED_TEXT_COLOR)
    number = f"frame {rendered.frame.number}"
    (width, _), _ = cv2.getTextSize(number, cv2.FONT_HERSHEY_SIMPLEX, SMALL_FONT_SCALE, 1)
    _put_text(strip, number, (strip.shape[1] - width - 5, 17), SMALL_FONT_SCALE, MUTED_TEXT_COLOR)


def _put_text(
    strip: NDArray[np.uint8], text: str, origin: tuple[int, int], scale: float, color: tuple[int, int, int]
) -> None:
    cv2 = import_cv2()
    cv2.putText(strip, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)
