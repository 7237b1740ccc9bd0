"""Puts the sample company together: tells each customer's story, derives its raw rows, writes
them chunk by chunk.
"""

import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from time import monotonic
from typing import TextIO

from seeds.sample_company.billing import add_billing, add_catalogue
from seeds.sample_company.calendar import Window
from seeds.sample_company.community import add_community, add_ideas, add_staff
from seeds.sample_company.crm import add_crm, add_owners
from seeds.sample_company.deals import add_deals
from seeds.sample_company.effects import Touches, effect_rows
from seeds.sample_company.engagements import add_engagements
from seeds.sample_company.goals import add_goals
from seeds.sample_company.mail import add_campaigns, add_mail
from seeds.sample_company.product_usage import add_usage
from seeds.sample_company.rows import Rows, stream
from seeds.sample_company.stories import Story, tell
from seeds.sample_company.support import add_agents, add_support
from seeds.sample_company.truth import customer_row, episode_rows, identity_rows
from seeds.sample_company.voice import add_effort, add_voice
from seeds.sample_company.webinars import add_registrations, add_webinars
from seeds.sample_company.website import add_pages
from seeds.sample_company.writer import CsvWriter, ParquetWriter, RowFile, Writer

# customers whose rows are held in memory at once, at scale 1
_CHUNK = 100
_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class Request:
    """What to generate and where to."""

    seed: int
    customers: int
    until: date
    months: int
    file_format: str
    out: Path
    scale: float
    touches: Touches


def generate(request: Request, progress: TextIO | None = None) -> None:
    """Writes raw/ and truth/ below the request's folder; raises OSError when it cannot."""
    window = Window.ending(request.until, request.months)
    writer: Writer = (
        CsvWriter(request.out) if request.file_format == "csv" else ParquetWriter(request.out)
    )
    truth = request.out / "truth"
    shared = Rows()
    add_catalogue(shared, window)
    add_owners(shared, window)
    add_agents(shared, window)
    add_campaigns(shared, window)
    add_staff(shared, window)
    votes: Counter[str] = Counter()
    chunk, size = Rows(), max(1, int(_CHUNK / max(1.0, request.scale)))
    started, told = monotonic(), monotonic()
    with (
        RowFile(truth / "customers.csv") as customers,
        RowFile(truth / "identity.csv") as identities,
        RowFile(truth / "episodes.csv") as episodes,
        RowFile(truth / "effects.csv") as effects,
    ):
        effects.write(effect_rows())
        for index in range(request.customers):
            story = tell(request.seed, index, window, request.touches)
            rows, idea_votes = derive(story, request.scale)
            votes.update(idea_votes)
            chunk.merge(rows)
            customers.write([customer_row(story)])
            identities.write(identity_rows(story))
            episodes.write(episode_rows(story))
            if (index + 1) % size == 0:
                writer.write(chunk)
                chunk = Rows()
            if progress is not None and monotonic() - told > _PROGRESS_SECONDS:
                told = monotonic()
                print(
                    f"{index + 1:,} of {request.customers:,} customers, {told - started:.0f} s",
                    file=progress,
                )
        add_ideas(shared, window, votes)
        add_webinars(shared, window)
        shared.land(stream(request.seed, 0, "shared"), window.end)
        chunk.merge(shared)
        writer.write(chunk)
        writer.close()
    copied = Path(__file__).with_name("truth.md")
    shutil.copyfile(copied, truth / "README.md")


def derive(story: Story, scale: float) -> tuple[Rows, Counter[str]]:
    """All raw rows of one customer, and its votes per idea."""
    rows = Rows()
    # mail and community settle who opted out and who joined, before the CRM and the truth say so
    add_mail(story, rows)
    votes = add_community(story, rows)
    add_billing(story, rows)
    add_crm(story, rows)
    solved = add_support(story, rows)
    add_voice(story, solved, rows)
    add_usage(story, rows, scale)
    add_pages(story, rows)
    # rows land in the order of the tables' first rows: what is younger comes last
    add_deals(story, rows)
    add_engagements(story, rows)
    add_registrations(story, rows)
    add_effort(story, solved, rows)
    add_goals(story, rows)
    rows.land(story.rng("landing"), story.window.end)
    return rows, votes
