"""Segmentation of a camera, a stream or a video file, frame by frame; clusters keep their numbers.

FrameSource -> FrameReader (a thread) -> Tracker -> RenderedFrame -> window, video file, PNG files
"""
