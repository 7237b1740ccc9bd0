"""Command line: python -m seeds.sample_company; without arguments it writes the shipped sample
again, byte for byte.
"""

import argparse
import sys
from datetime import date
from pathlib import Path

from seeds.sample_company.company import Request, generate
from seeds.sample_company.effects import TreatedFileError, read_touches
from seeds.sample_company.rows import MAX_CUSTOMERS


def main(arguments: list[str] | None = None) -> int:
    """Runs the generator; 0 when written, 2 when the arguments cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m seeds.sample_company",
        description="Writes the sample company: raw tables to OUT/raw, the truth to OUT/truth.",
    )
    parser.add_argument("--seed", type=int, default=7, help="random seed (default 7)")
    parser.add_argument(
        "--customers", type=int, default=300, help="number of customers (default 300)"
    )
    parser.add_argument(
        "--until", type=date.fromisoformat, default=date(2026, 10, 28), help="last day, YYYY-MM-DD"
    )
    parser.add_argument(
        "--months", type=int, default=18, help="calendar months, the last one included (default 18)"
    )
    parser.add_argument("--format", choices=["csv", "parquet"], default="csv")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parents[1],
        help="folder to write to (default seeds)",
    )
    parser.add_argument(
        "--events-per-customer-scale",
        type=float,
        default=1.0,
        metavar="F",
        help="multiplies the product events of an active day (default 1)",
    )
    parser.add_argument(
        "--treated-file",
        type=Path,
        default=None,
        help="CSV trigger_name,customer_id,touched_at: each touch has its planted effect",
    )
    given = parser.parse_args(arguments)
    if not 1 <= given.customers <= MAX_CUSTOMERS:
        parser.error(f"--customers must be 1 to {MAX_CUSTOMERS}")
    if not 8 <= given.months <= 120:
        parser.error("--months must be 8 to 120: the stories need room")
    if not 0 < given.events_per_customer_scale <= 1000:
        parser.error("--events-per-customer-scale must be above 0 and at most 1000")
    if given.seed < 0:
        parser.error("--seed must not be negative")
    try:
        touches = read_touches(given.treated_file)
    except TreatedFileError as error:
        parser.error(str(error))
    try:
        generate(
            Request(
                seed=given.seed,
                customers=given.customers,
                until=given.until,
                months=given.months,
                file_format=given.format,
                out=given.out,
                scale=given.events_per_customer_scale,
                touches=touches,
            ),
            progress=sys.stderr,
        )
    except OSError as error:
        parser.error(f"cannot write to {given.out}: {error.strerror}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
