"""Who decodes: OpenCV everything, and the package `nvidia-nvimgcodec`, where it is usable, ordinary JPEG files.

nvImageCodec runs on the CPU here. It decodes only the rows and columns of a window, with the same libjpeg-turbo
arithmetic as OpenCV, so the pixels are equal, not merely close; before it is used, a probe makes sure of that
(docs/adr/0010).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, get_args

import cv2
import numpy as np

from flowdata.codec.encoding import encode_jpeg
from flowdata.codec.exif import Image, Window

Provider = Literal["auto", "cv2", "nvimgcodec"]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)

_DISTRIBUTIONS = ("nvidia-nvimgcodec-cu13", "nvidia-nvimgcodec-cu12")
_local = threading.local()


def resolve(provider: Provider) -> Provider:
    """``auto`` becomes ``nvimgcodec`` where that is usable, else ``cv2``; the others stay what they are."""
    if provider != "auto":
        return provider
    return "cv2" if nvimgcodec_problem() else "nvimgcodec"


@cache
def nvimgcodec_problem() -> str | None:
    """Why nvImageCodec cannot be used in this environment; None if it can."""
    try:
        found = importlib.util.find_spec("nvidia.nvimgcodec") is not None
    except ModuleNotFoundError:  # no package `nvidia` at all
        found = False
    if not found:
        return "the package nvidia-nvimgcodec-cu13 is not installed"
    y, x = np.mgrid[0:61, 0:85]
    image = np.stack([3 * x, 255 - 2 * y, (x * y) % 256], axis=-1).astype(np.uint8)
    data = encode_jpeg(image, 90, "4:2:0")
    whole: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    try:
        given = decode_by_nvimgcodec(data, (13, 21, 34, 43), bgr=True)
    except Exception as error:  # a package that cannot be used must not stop those who do not need it
        return f"it does not run here: {type(error).__name__}: {error}"
    if given is None:
        return "it decodes no JPEG without a GPU here"
    return None if np.array_equal(given, whole[13:47, 21:64]) else "it gives other pixels than OpenCV"


def decode_by_nvimgcodec(data: bytes, window: Window, *, bgr: bool) -> Image | None:
    """A window of a JPEG with three components, in RGB or BGR; None if the decoder refuses the file."""
    top, left, height, width = window
    library, decoder, parameters = _decoder()
    stream = library.CodeStream(data).get_sub_code_stream(region=library.Region(top, left, top + height, left + width))
    image = decoder.decode(stream, params=parameters["bgr" if bgr else "rgb"])
    return None if image is None else np.asarray(image)


def describe() -> str:
    """The providers of this environment, for people."""
    ours = f"OpenCV {cv2.__version__}"
    if problem := nvimgcodec_problem():
        return f"{ours} ({problem})"
    return f"nvImageCodec {_version()} on the CPU for baseline JPEG, {ours}"


def _version() -> str:
    from importlib import metadata  # a worker needs none of what it imports

    for name in _DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return "of unknown version"


def _decoder() -> tuple[Any, Any, dict[str, Any]]:
    """The library, and a decoder that belongs to this thread of this process alone."""
    if getattr(_local, "process", None) != os.getpid():
        library = _library()
        decoder = library.Decoder(
            device_id=library.NVIMGCODEC_DEVICE_CPU_ONLY, max_num_cpu_threads=1,
            backends=[library.Backend(library.BackendKind.CPU_ONLY)],
        )  # fmt: skip
        formats = {"rgb": library.SampleFormat.I_RGB, "bgr": library.SampleFormat.I_BGR}
        parameters = {
            name: library.DecodeParams(apply_exif_orientation=False, sample_format=kind)
            for name, kind in formats.items()
        }
        _local.decoder, _local.process = (library, decoder, parameters), os.getpid()
    decoder_of_thread: tuple[Any, Any, dict[str, Any]] = _local.decoder
    return decoder_of_thread


@cache
def _library() -> Any:
    os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")  # what it refuses, OpenCV decodes or reports
    with _without_stderr():
        from nvidia import nvimgcodec
    return nvimgcodec


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """The import complains about each missing GPU library, from C and without a switch."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
