"""A real server of files on this machine: ranges, and failures when they are wanted."""

import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_ASKED = "/.asked"


class _Files(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path, failures: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.failures = folder, failures
        self.asked: Counter[str] = Counter()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits for 40 ms
    server: _Files

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        if self.path == _ASKED:
            return self._send(200, json.dumps(self.server.asked).encode(), body=body)
        self.server.asked[self.path] += 1
        file = self.server.folder / self.path.lstrip("/")
        if not file.is_file():
            return self._send(404, b"", body=body)
        if self.server.asked[self.path] <= self.server.failures:
            return self._send(503, b"", body=body)
        content = file.read_bytes()
        wanted = self.headers.get("Range")
        if wanted is None:
            return self._send(200, content, body=body)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        part = content[int(first) : int(last or len(content) - 1) + 1]
        where = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        return self._send(206, part, {"Content-Range": where}, body=body)

    def _send(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, *, body: bool
    ) -> None:
        self.send_response(status)
        for name, value in {"Accept-Ranges": "bytes", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Server:
    """A server that runs in a process of its own: GDAL asks it while it holds Python's lock.

    Attributes:
        url: Where it is.
    """

    url: str

    @property
    def asked(self) -> Counter[str]:
        """Requests so far, by path."""
        with urllib.request.urlopen(f"{self.url}{_ASKED}", timeout=10) as answer:
            return Counter(json.load(answer))


@contextmanager
def serve(folder: Path, failures: int = 0) -> Iterator[Server]:
    """Serves a folder; so many of the first requests for each file are answered with 503."""
    command = [sys.executable, __file__, str(folder), str(failures)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(f"http://127.0.0.1:{process.stdout.readline().strip()}")
        finally:
            process.kill()


if __name__ == "__main__":
    files = _Files(Path(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.write(f"{files.server_address[1]}\n")
    sys.stdout.flush()
    files.serve_forever()
