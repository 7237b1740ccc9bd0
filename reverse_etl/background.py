"""The sandbox as a process in the background, found again by its pid file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import orjson
import requests

from reverse_etl.errors import UserError

START_SECONDS = 20.0
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class SandboxProcess:
    """Files live in ``folder``: sandbox.pid, sandbox.log and the sandbox's own store."""

    folder: Path
    http_port: int
    smtp_port: int

    @property
    def store(self) -> Path:
        """What the sandbox received."""
        return self.folder / "sandbox.db"

    @property
    def url(self) -> str:
        """Its page."""
        return f"http://127.0.0.1:{self.http_port}"

    def start(self) -> bool:
        """Start it unless it runs; returns whether it had to. Raises UserError with the end of the
        log when it does not come up."""
        if self._is_ours():
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "sandbox.log"
        command = [sys.executable, "-m", "reverse_etl.cli", "sandbox"]
        ports = ["--port", str(self.http_port), "--smtp-port", str(self.smtp_port)]
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own command
                command + ports,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if self._is_healthy():
                told = {"pid": process.pid, "http": self.http_port, "smtp": self.smtp_port}
                self._pid_file.write_bytes(orjson.dumps(told))
                return True
            time.sleep(0.1)
        process.terminate()
        said = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise UserError("The sandbox did not start. " + (" ".join(said) or f"See {log.name}."))

    def stop(self) -> bool:
        """Stop it; returns whether there was one to stop."""
        told = self._told()
        if told is None or not self._runs(told["pid"]):
            self._pid_file.unlink(missing_ok=True)
            return False
        os.kill(told["pid"], signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and self._runs(told["pid"]):
            time.sleep(0.05)
        self._pid_file.unlink(missing_ok=True)
        return True

    @property
    def _pid_file(self) -> Path:
        return self.folder / "sandbox.pid"

    def _told(self) -> dict[str, int] | None:
        try:
            told = orjson.loads(self._pid_file.read_bytes())
            return {name: int(told[name]) for name in ("pid", "http", "smtp")}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _is_ours(self) -> bool:
        told = self._told()
        ports = {"http": self.http_port, "smtp": self.smtp_port}
        return (
            told is not None
            and {name: told[name] for name in ports} == ports
            and self._runs(told["pid"])
            and self._is_healthy()
        )

    @staticmethod
    def _runs(pid: int) -> bool:
        """Whether that process is a sandbox, and not a stranger that got its number."""
        command = Path(f"/proc/{pid}/cmdline")
        if command.exists():
            return b"sandbox" in command.read_bytes()
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return not Path("/proc/self").exists()

    def _is_healthy(self) -> bool:
        try:
            with requests.Session() as session:
                session.trust_env = False
                return session.get(f"{self.url}/_sandbox/health", timeout=1).ok
        except requests.RequestException:
            return False
