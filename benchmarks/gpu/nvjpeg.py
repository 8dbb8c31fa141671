"""The step that decodes JPEG files on the GPU: the time, and the difference from the pixels of libjpeg-turbo.

Torchvision calls nvJPEG. The chroma upsampling of the two decoders differs, and so do the pixels: kseg-batch
does not use nvJPEG.
"""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu.end_to_end import write_photos
from benchmarks.gpu.findings import SkippedError
from benchmarks.photos import read_photo

if TYPE_CHECKING:
    from benchmarks.gpu.step import Work

ROUNDS = 5


def nvjpeg(work: Work) -> None:
    """Decode a batch of photos by nvJPEG, and compare the pixels with the pixels that kseg-batch decodes.

    Raises:
        SkippedError: torchvision is not installed, or has no nvJPEG.
    """
    try:
        torch, io = importlib.import_module("torch"), importlib.import_module("torchvision.io")
    except (ImportError, RuntimeError, OSError) as error:
        raise SkippedError(f"torchvision cannot be imported: {error}") from error
    if not torch.cuda.is_available():
        raise SkippedError("PyTorch has no GPU here")
    jobs = write_photos(work, work.scratch / "nvjpeg", work.scale.batch)
    data = [torch.from_numpy(np.frombuffer(job.source.read_bytes(), np.uint8).copy()) for job in jobs]

    def decode() -> Any:
        pictures = io.decode_jpeg(data, mode=io.ImageReadMode.RGB, device="cuda")
        torch.cuda.synchronize()
        return pictures

    try:
        pictures = decode()
    except RuntimeError as error:
        raise SkippedError(f"torchvision does not decode on the GPU: {error}") from error
    seconds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        decode()
        seconds.append(time.perf_counter() - begin)
    rate = len(jobs) / sorted(seconds)[ROUNDS // 2]
    work.findings.add(images_per_s=rate)
    differences = np.zeros(256, np.int64)
    for job, picture in list(zip(jobs, pictures, strict=True))[:8]:
        ours = read_photo(job.source).astype(np.int16)
        theirs = picture.permute(1, 2, 0).cpu().numpy().astype(np.int16)
        differences += np.bincount(np.abs(ours - theirs).reshape(-1), minlength=256)
    equal, greatest = float(differences[0] / differences.sum()), int(np.flatnonzero(differences)[-1])
    work.findings.add(equal_channels=equal, greatest_difference=greatest)
    share = f"{100 * equal:.1f} % of channels equal, at most {greatest} off"
    work.findings.summarise(f"{rate:.0f} images/s; {share}")
