"""Segmenting a camera, a stream or a video file, frame by frame, with clusters that keep their numbers.

source -> reader (a thread) -> tracker -> window, video file, PNG files
"""
