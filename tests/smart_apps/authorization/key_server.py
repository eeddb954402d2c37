"""A client's server that publishes keys on loopback, well or badly, and counts who asks."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Any


class KeyServer:
    """What it answers may be changed while it runs.

    Parameters
    ----------
    url
        Where the keys are.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[dict[str, str]] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b""
        self.endless = b""
        self.over = threading.Event()
        """Who is kept waiting is let go."""
        self.go = threading.Event()
        self.go.set()

    def publishes(self, *keys: Any, **headers: str) -> None:
        """Publish the public halves of these keys."""
        public = [key if isinstance(key, dict) else key.as_dict(private=False) for key in keys]
        self.status, self.body = 200, json.dumps({"keys": public}).encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@contextmanager
def published(tls: SSLContext | None = None, name: str = "127.0.0.1") -> Iterator[KeyServer]:
    """Run one until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append({"path": self.path, **dict(self.headers.items())})
            if not found.go.wait(30):
                return
            self.send_response(found.status)
            for each in found.headers.items():
                self.send_header(*each)
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                self.wfile.write(found.body)
                while found.endless and not found.over.is_set():
                    self.wfile.write(found.endless)
                    self.wfile.flush()
            except OSError:
                found.over.set()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    found = KeyServer(f"{scheme}://{name}:{server.server_port}/jwks.json?v=1")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.over.set()
        found.go.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
