"""Servers of live video on the loopback interface, each in a thread, for as long as a `with` lasts."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import av
from PIL import Image as Pillow

from tests.support.image_files import encoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.images import Image

SECONDS = 0.02
"""Between two frames."""

SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=a camera
t=0 0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=control:track0
"""


@contextlib.contextmanager
def http_server(content_type: str, parts: Sequence[bytes]) -> Iterator[str]:
    """Serve the parts one by one, and close the connection; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/camera":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            with contextlib.suppress(OSError):  # the other side may have enough
                for part in parts:
                    self.wfile.write(part)
                    time.sleep(SECONDS)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/camera"
        server.shutdown()


def mjpeg_parts(images: Sequence[Image]) -> list[bytes]:
    """The parts that a network camera sends as multipart/x-mixed-replace."""
    parts = []
    for image in images:
        data = encoded(Pillow.fromarray(image), "JPEG", quality=95)
        parts.append(
            b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(data), data)
        )
    return parts


@contextlib.contextmanager
def rtsp_server(images: Sequence[Image]) -> Iterator[str]:
    """Serve pictures by RTSP, with RTP in the same connection, and hang up at the end; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve_rtsp, args=(server, images), daemon=True)
        thread.start()
        yield f"rtsp://watcher:secret@127.0.0.1:{server.getsockname()[1]}/camera"


def _serve_rtsp(server: socket.socket, images: Sequence[Image]) -> None:
    connection, _ = server.accept()
    with connection, connection.makefile("rw", newline="") as file, contextlib.suppress(OSError):
        while line := file.readline():
            headers = {}
            while (header := file.readline().strip()) != "":
                name, _, value = header.partition(": ")
                headers[name.lower()] = value
            method = line.split()[0]
            extra, body = "Public: DESCRIBE, SETUP, PLAY\r\n", ""
            if method == "DESCRIBE":
                body = SDP.replace("\n", "\r\n")
                extra = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            elif method == "SETUP":
                assert "interleaved=0-1" in headers["transport"]
                extra = f"Transport: {headers['transport']}\r\nSession: 1\r\n"
            file.write(f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\n{extra}\r\n{body}")
            file.flush()
            if method == "PLAY":
                _send_rtp(connection, images)
                return


def _send_rtp(connection: socket.socket, images: Sequence[Image]) -> None:
    """Let FFmpeg send the packets to a local socket, and forward them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
        packets.bind(("127.0.0.1", 0))
        packets.settimeout(0.005)
        address = f"rtp://127.0.0.1:{packets.getsockname()[1]}"
        with av.open(address, "w", format="rtp") as container:
            stream: Any = container.add_stream("libx264", rate=25)
            stream.options = {"tune": "zerolatency", "g": "5", "crf": "10"}
            stream.height, stream.width = images[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            for image in images:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
                _forward(packets, connection)
                time.sleep(SECONDS)


def _forward(packets: socket.socket, connection: socket.socket) -> None:
    while True:
        try:
            packet = packets.recv(65536)
        except TimeoutError:
            return
        connection.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)
