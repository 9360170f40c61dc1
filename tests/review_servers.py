"""Servers of a review as processes of their own, and what a page asks of them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class Server:
    """``debride review`` of an audit for a reader, until it is killed. ``began`` is how many seconds it took to its address."""

    def __init__(self, audit: Path, reader: str, *options: str) -> None:
        words = [sys.executable, "-m", "debride", "review", str(audit), "--reader", reader, "--no-browser", *options]
        before = time.monotonic()
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.address = self.process.stdout.readline().strip()
        self.began = time.monotonic() - before
        if not self.address.startswith("http"):
            raise RuntimeError(f"`debride review` ended with {self.process.wait()}")
        parts = urlsplit(self.address)
        self.host, self.root = parts.netloc, parts.path
        self.connection = http.client.HTTPConnection(self.host, timeout=60)

    def ask(self, path: str, body: Any = None) -> Any:
        """The answer to a GET, or with a ``body`` to a POST, as the page sends it. Raises OSError or HTTPException if the
        server is gone, RuntimeError for what it refuses."""
        headers = {"Content-Type": "application/json", "Origin": f"http://{self.host}"} if body is not None else {}
        sent = None if body is None else json.dumps(body)
        self.connection.request("GET" if body is None else "POST", self.root + path, sent, headers)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status} {content.decode()}")
        return json.loads(content)

    def memory(self) -> float:
        """Resident MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def kill(self) -> None:
        """Ends it without a warning."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it, also where a background shell lets it ignore Ctrl-C."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        os.kill(self.process.pid, number)
        self.process.wait()
        self.connection.close()
        if self.process.stdout:
            self.process.stdout.close()
