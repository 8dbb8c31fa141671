"""The choice of a source: a camera through OpenCV, or a video file or stream through PyAV."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kseg_batch.live.options import LiveOptions
    from kseg_batch.live.source import FrameSource


def open_source(options: LiveOptions) -> FrameSource:
    """Open the source that the options name.

    Raises:
        SourceError: The source is missing, busy or unreadable.
        BackendUnavailableError: The package that reads the source is missing.
    """
    if options.source is not None:
        from kseg_batch.live.video import VideoSource

        return VideoSource(options.source, options)
    from kseg_batch.live.camera import CameraSource

    return CameraSource(options.camera, options)
