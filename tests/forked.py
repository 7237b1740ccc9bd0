"""The command line in a process of its own, forked from one that has imported everything: of each
call the arguments, environment, output and exit code are real, and only the imports are shared."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reverse_etl import cli
from tests.conftest import ROOT


def reverse_etl(
    *arguments: str, environment: dict[str, str], folder: str = "/"
) -> subprocess.CompletedProcess[str]:
    """``reverse-etl`` with these arguments, as ``subprocess.run`` would tell of it."""
    with TemporaryDirectory() as name:
        out, err = Path(name, "out"), Path(name, "err")
        asked = {"arguments": arguments, "environment": environment, "folder": folder}
        forker = _forker()
        assert forker.stdin is not None
        assert forker.stdout is not None
        forker.stdin.write(json.dumps(asked | {"out": str(out), "err": str(err)}) + "\n")
        code = int(forker.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())


@cache
def _forker() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.forked"]
    pipe = subprocess.PIPE
    started = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1, cwd=ROOT)
    atexit.register(_end, started)
    return started


def _end(forker: subprocess.Popen[str]) -> None:
    assert forker.stdin is not None
    forker.stdin.close()
    forker.wait(timeout=10)


def _run(asked: dict[str, Any]) -> None:
    """Become the command; does not return."""
    for number, file in ((1, asked["out"]), (2, asked["err"])):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = ["reverse-etl", *asked["arguments"]]
    cli.main()


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run(json.loads(line))
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
