"""``make demo``: the whole path on the sample company, through Dagster, into the sandbox."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from orchestration import manifest
from orchestration.errors import RunFailedError
from reverse_etl.errors import UserError
from reverse_etl.settings import Settings


def main() -> int:
    """Run the demo. Exit code: 0 done, 1 a run failed or rows did not arrive, 2 a mistake."""
    started = time.monotonic()
    try:
        settings = Settings.from_environment()
        if settings.target == "prod":
            raise UserError("DBT_TARGET is prod, and the demo fills a sandbox: unset DBT_TARGET.")
        # dbt parses in a process of its own while this one imports Dagster: seconds each
        with ThreadPoolExecutor() as beside:
            parsed = beside.submit(manifest.refresh, settings)
            from orchestration import days
        parsed.result()
        clean = days.live(settings)
    except UserError as error:
        sys.stdout.write(f"{error}\n")
        return 2
    except RunFailedError as error:
        sys.stdout.write(f"{error}\nThe run and its logs are in the Dagster UI: make ui\n")
        return 1
    sys.stdout.write(f"\nDone in {time.monotonic() - started:.0f} s.\n")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
