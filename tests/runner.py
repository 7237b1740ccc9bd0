"""Runs ``apply`` in processes that can be killed: forked from one that has imported everything.

Each line on standard input is a project's folder. Answers with the child's process id, and with its
exit status once it has ended: ``signal 9`` when it was killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from reverse_etl.engine import Engine
from reverse_etl.errors import UserError
from reverse_etl.push import Retries
from reverse_etl.settings import Settings

IMPATIENT = Retries(tries=3, first_pause=0.01, longest_pause=0.2)


@dataclass
class Runner:
    """The process that forks; ``environment`` is that of the runs."""

    process: subprocess.Popen[str]

    @classmethod
    def started(cls, environment: dict[str, str]) -> Self:
        command = [sys.executable, "-m", "tests.runner"]
        pipe = subprocess.PIPE
        root = str(Path(__file__).parent.parent)
        return cls(
            subprocess.Popen(
                command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=root, bufsize=1
            )
        )

    def start(self, folder: Path) -> int:
        """Begin a run; its process id."""
        _of(self.process.stdin).write(f"{folder}\n")
        return int(_of(self.process.stdout).readline())

    def ended(self) -> str:
        """Wait for the run's end: ``exit <code>`` or ``signal <number>``."""
        return _of(self.process.stdout).readline().strip()

    def stop(self) -> None:
        _of(self.process.stdin).close()
        self.process.wait(timeout=10)
        _of(self.process.stdout).close()


def _of(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(_apply(Path(line.strip())))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        code = os.WTERMSIG(status) if killed else os.WEXITSTATUS(status)
        print("signal" if killed else "exit", code, flush=True)


def _apply(folder: Path) -> int:
    try:
        results = Engine(Settings.from_environment(None, folder), retries=IMPATIENT).apply()
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        return 2
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 70
    if any(result.held for result in results):
        return 3
    return 0 if all(result.is_clean for result in results) else 1


if __name__ == "__main__":
    main()
