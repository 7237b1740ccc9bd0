"""HubSpot deals: new business, expansion and renewal, as sales keeps them beside the
subscriptions.
"""

from typing import TYPE_CHECKING, Final

from seeds.sample_company.billing import unit_amount
from seeds.sample_company.calendar import DAY, add_months
from seeds.sample_company.lifecycle import Change, Subscription
from seeds.sample_company.rows import Rows, pick

if TYPE_CHECKING:
    from seeds.sample_company.stories import Story

_OPEN_STAGES: Final = ["appointmentscheduled", "qualifiedtobuy", "contractsent"]
_NAMES: Final = {
    "newbusiness": ("{company} 新規導入", "{company} - new"),
    "expansion": ("{company} 追加契約", "{company} - expansion"),
    "renewal": ("{company} 契約更新", "{company} - renewal"),
}


def add_deals(story: "Story", rows: Rows) -> None:
    """Deals of one customer; needs its company row."""
    if story.is_internal:
        return
    desk = _Desk(story, rows)
    end = story.window.end
    first = story.subscriptions[0]
    state = first.changes[0]
    if first.paid_from > end:
        desk.note("newbusiness", first, state, story.started_at, None, None)
    else:
        desk.note(
            "newbusiness",
            first,
            first.changes[0],
            story.started_at,
            first.paid_from,
            first.was_paid,
        )
    for item in story.subscriptions:
        for before, after in zip(item.changes, item.changes[1:], strict=False):
            if after.seats > before.seats and after.at <= end:
                desk.note("expansion", item, after, after.at - 25 * DAY, after.at, True)
        if item.months == 12 and item.was_paid:
            for _, stop in item.periods(end):
                lost = item.ended_at is not None and item.ended_at <= stop
                known = min(stop, item.notice_at or stop) if lost else stop
                closed = known if known <= end else None
                desk.note("renewal", item, item.changes[-1], add_months(stop, -3), closed, not lost)
    ready = story.expansion_ready_from
    if ready is not None and story.churned_at is None and end - ready < 60 * DAY:
        desk.note("expansion", first, first.changes[-1], ready + 5 * DAY, None, None)


class _Desk:
    """Writes the deals of one customer in order."""

    def __init__(self, story: "Story", rows: Rows) -> None:
        self._story, self._rows, self._serial = story, rows, 0
        self._rng = story.rng("deals")
        self._owner = rows.single["hubspot.company"][0]["property_hubspot_owner_id"]

    def note(
        self,
        kind: str,
        item: Subscription,
        state: Change,
        created_at: int,
        closed_at: int | None,
        is_won: bool | None,
    ) -> None:
        """Adds a deal that was created by the end; one without `closed_at` is still open."""
        story, rng = self._story, self._rng
        end, company = story.window.end, story.company
        created_at = max(created_at - int(rng.integers(0, 6 * DAY)), story.window.start)
        stage, expected, draw = pick(rng, _OPEN_STAGES), int(rng.integers(10, 80)), rng.random()
        if created_at > end:
            return
        closed_at = None if closed_at is None else max(closed_at, created_at + DAY)
        if closed_at is None or closed_at > end:
            closed_at, is_won = None, None
        minor = unit_amount(company.country.currency, state.plan, item.months)
        year = minor * state.seats * (1 if item.months == 12 else 12)
        deal_id = 20_000_000_000 + company.index * 1_000 + self._serial
        self._serial += 1
        name = _NAMES[kind][0 if company.country.code == "JP" else 1]
        self._rows.add(
            "hubspot.deal",
            closed_at or created_at,
            deal_id=deal_id,
            is_deleted=draw < 0.01,
            deal_pipeline_id="renewals" if kind == "renewal" else "default",
            deal_pipeline_stage_id=stage
            if closed_at is None
            else "closedwon"
            if is_won
            else "closedlost",
            owner_id=self._owner,
            property_dealname=name.format(company=company.name),
            # a few are opened before anybody knows what they are worth
            property_amount=None
            if closed_at is None and draw > 0.9
            else year // (1 if company.country.currency == "jpy" else 100),
            property_deal_currency_code=company.country.currency.upper(),
            property_dealtype="newbusiness" if kind == "newbusiness" else "existingbusiness",
            property_hs_is_closed=closed_at is not None,
            property_hs_is_closed_won=bool(is_won),
            property_createdate=created_at,
            property_closedate=closed_at or created_at + expected * DAY,
        )
        # sales forgets to say whose deal it is, or names a company that was merged away
        if draw < 0.96:
            company_id = company.hubspot_id if draw < 0.955 else 8_999_999_999
            self._rows.add(
                "hubspot.deal_company",
                created_at,
                deal_id=deal_id,
                company_id=company_id,
                type_id=5,
            )
