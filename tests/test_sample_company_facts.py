"""The sample company's facts agree across sources, carry dirt that is meant, end with news."""

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np

from seeds.sample_company.calendar import Window, add_months
from tests.sample_files import END, latest, read, truth, versions

WINDOW = Window.ending(date(2026, 10, 28), 18)
AMOUNTS = {"subtotal", "tax", "total", "amount_due", "amount_paid", "amount_remaining"}


def test_lines_add_up_to_the_subtotal_and_amounts_to_the_total() -> None:
    lines: dict[str, int] = defaultdict(int)
    for line in latest("stripe.invoice_line_item").values():
        lines[line["invoice_id"]] += int(line["amount"])
    invoices = latest("stripe.invoice")
    assert set(lines) == set(invoices)
    for key, invoice in invoices.items():
        amounts = {name: int(invoice[name] or 0) for name in invoice if name in AMOUNTS}
        assert amounts["subtotal"] == lines[key]
        assert amounts["amount_paid"] + amounts["amount_remaining"] == amounts["amount_due"]
        assert 0 <= amounts["total"] - amounts["tax"] <= amounts["subtotal"]
        assert (invoice["status"] == "paid") == (invoice["paid"] == "true")


def test_full_period_lines_charge_the_price_times_the_seats_of_the_version_in_force() -> None:
    prices = latest("stripe.price")
    history = versions()
    for line in latest("stripe.invoice_line_item").values():
        price = prices[line["plan_id"]]
        assert price["currency"] == line["currency"]
        if line["proration"] == "false":
            assert int(line["amount"]) == int(price["unit_amount"]) * int(line["quantity"])
            (version,) = [
                row
                for row in history[line["subscription_id"]]
                if row["_fivetran_start"] <= line["period_start"] < row["_fivetran_end"]
            ]
            assert version["quantity"] == line["quantity"]


def test_versions_of_a_subscription_follow_each_other_without_gap_or_overlap() -> None:
    for rows in versions().values():
        for before, after in pairwise(rows):
            assert before["_fivetran_end"] == after["_fivetran_start"]
            assert before["_fivetran_active"] == "false"
        assert rows[-1]["_fivetran_active"] == "true"
        assert rows[-1]["_fivetran_end"] == "9999-12-31 23:59:59"
        assert "canceled" not in [row["status"] for row in rows[:-1]]


def test_billing_tells_every_chapter() -> None:
    statuses = {row["status"] for row in read("stripe.subscription_history")}
    assert statuses >= {"trialing", "active", "past_due", "unpaid", "canceled", "paused"}
    assert {row["currency"] for row in read("stripe.invoice")} == {"usd", "eur", "gbp", "jpy"}
    seats: dict[str, list[int]] = {
        key: [int(row["quantity"]) for row in rows] for key, rows in versions().items()
    }
    assert any(later > sooner for held in seats.values() for sooner, later in pairwise(held))
    assert any(later < sooner for held in seats.values() for sooner, later in pairwise(held))
    assert read("stripe.discount")
    alive = Counter(
        rows[-1]["customer_id"] for rows in versions().values() if rows[-1]["status"] == "active"
    )
    assert max(alive.values()) == 2


def test_the_truth_about_churn_agrees_with_the_subscriptions() -> None:
    ended: dict[str, list[str]] = defaultdict(list)
    for rows in versions().values():
        if rows[-1]["status"] not in ("incomplete_expired", "paused"):
            ended[rows[-1]["customer_id"]].append(rows[-1]["ended_at"])
    for customer in truth("customers"):
        if customer["churned_at"]:
            ends = ended[customer["stripe_customer_id"]]
            assert all(ends)
            assert max(ends) == customer["churned_at"]
            assert customer["churn_kind"] in ("voluntary", "involuntary")
    churned = [row for row in truth("customers") if row["churned_at"]]
    assert 50 <= len(churned) <= 120
    assert {row["churn_kind"] for row in churned} == {"voluntary", "involuntary"}


def test_usage_predicts_churn_but_not_perfectly() -> None:
    """Area under the curve of active days in 28 for churn within the next 60 days, over months."""
    days: dict[str, set[str]] = defaultdict(set)
    for row in read("segment.tracks"):
        days[row["context_group_id"]].add(row["timestamp"][:10])
    bad, good = [], []
    for month in range(8, 17):
        at = datetime.fromtimestamp(add_months(WINDOW.start, month), UTC)
        since, until = (f"{at + timedelta(days=shift):%Y-%m-%d}" for shift in (-28, 60))
        for row in truth("customers"):
            started = row["started_at"] < f"{at - timedelta(days=45):%Y-%m-%d}"
            if not started or row["is_internal"] == "true":
                continue
            if row["churn_reason"] == "trial_not_converted":
                continue
            if row["churned_at"] and row["churned_at"] < f"{at:%Y-%m-%d}":
                continue
            active = sum(since <= day < f"{at:%Y-%m-%d}" for day in days[row["workspace_id"]])
            (bad if row["churned_at"] and row["churned_at"] < until else good).append(active)
    ranks = np.subtract.outer(np.array(good), np.array(bad))
    area = float((ranks > 0).mean() + (ranks == 0).mean() / 2)
    print(f"\nAUC of active days for churn within 60 days: {area:.3f}, {len(bad)} churns")
    assert 0.6 < area < 0.95


def test_silent_strugglers_ask_nothing_and_answer_nothing() -> None:
    silent = [row for row in truth("customers") if row["silent_struggler_from"]]
    assert len(silent) >= 30
    domains = {row["domain"] for row in silent}
    asking = {row["email"].strip().lower().split("@")[1] for row in read("surveys.nps_answers")}
    assert not domains & asking
    people = latest("zendesk.user")
    requesters = {row["requester_id"] for row in read("zendesk.ticket")}
    asked = {people[key]["email"].strip().lower().split("@")[1] for key in requesters}
    assert not domains & asked
    errors = Counter(row["context_group_id"] for row in read("segment.error_encountered"))
    struggling = [row for row in silent if row["archetype"] == "silent_from_start"]
    assert all(errors[row["workspace_id"]] for row in struggling)


def test_every_error_is_also_a_track_with_the_same_id() -> None:
    tracks = {row["id"]: row["event"] for row in read("segment.tracks")}
    errors = read("segment.error_encountered")
    assert all(tracks[row["id"]] == "error_encountered" for row in errors)
    in_tracks = {key for key, event in tracks.items() if event == "error_encountered"}
    assert in_tracks == {row["id"] for row in errors}


def test_events_of_plans_not_bought_do_not_happen() -> None:
    ranks = ["starter", "team", "business", "enterprise"]
    best: dict[str, int] = defaultdict(int)
    for line in read("stripe.invoice_line_item"):
        key = line["subscription_id"][4:7]
        best[key] = max(best[key], ranks.index(line["plan_id"].split("_")[1]))
    for row in read("segment.tracks"):
        if row["event"] in ("sso_configured", "audit_log_viewed", "forecast_viewed"):
            key = row["id"][1:4]
            # a trial may try what it has not paid for yet
            assert best.get(key, 3) >= (2 if row["event"] == "forecast_viewed" else 3)


def test_the_dirt_that_staging_must_survive_is_there() -> None:
    tracks = read("segment.tracks")
    ids = Counter(row["id"] for row in tracks)
    assert any(count > 1 for count in ids.values())
    late = [
        row for row in tracks if _seconds(row["received_at"]) - _seconds(row["sent_at"]) > 86_400
    ]
    assert len(late) > 100
    assert any(row["context_group_id"] == "ws_unknown" for row in tracks)
    assert any(not row["user_id"] for row in tracks)
    landed = [(row["id"], row["_fivetran_synced"]) for row in read("stripe.invoice")]
    assert len(landed) > len({key for key, _ in landed})
    companies = latest("hubspot.company").values()
    assert any(not row["property_stripe_customer_id"] for row in companies)
    assert any(not row["property_workspace_id"] for row in companies)
    unassigned = sum(not row["property_hubspot_owner_id"] for row in companies) / len(companies)
    assert 0.06 < unassigned < 0.18
    assert any(row["metadata"] == "{}" for row in read("stripe.customer"))
    subscriptions = set(versions())
    assert any(
        row["subscription_id"] not in subscriptions for row in read("stripe.subscription_item")
    )
    assert any(not row["organization_id"] for row in read("zendesk.ticket"))
    contacts = list(latest("hubspot.contact").values())
    emails = [row["property_email"] for row in contacts]
    assert any(email != email.strip() for email in emails)
    assert any(email.strip() != email.strip().lower() for email in emails)
    for column, value in (
        ("_fivetran_deleted", "true"),
        ("property_hs_email_optout", "true"),
        ("property_hs_email_optout", ""),
        ("property_hs_legal_basis", ""),
        ("property_country", ""),
        ("property_associatedcompanyid", ""),
    ):
        assert any(row[column] == value for row in contacts), column
    assert any(row["filtered_event"] == "true" for row in read("hubspot.email_event"))
    assert any(row["status"].startswith("5") for row in read("hubspot.email_event_bounce"))
    assert any("Test" in row["name"] for row in read("stripe.customer"))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_every_person_has_one_identity_and_a_synthetic_address() -> None:
    people = truth("identity")
    for column in ("hubspot_contact_id", "product_user_id", "zendesk_user_id", "community_user_id"):
        known = [row[column] for row in people if row[column]]
        assert len(known) == len(set(known)), column
    assert len({row["email"] for row in people}) == len(people)
    for row in people:
        domain = row["email"].split("@")[1]
        assert domain.endswith((".example", ".example.com", ".example.jp"))
    by_user = {row["product_user_id"]: row["email"] for row in people}
    for row in read("segment.identifies"):
        assert row["email"].strip().lower() == by_user[row["user_id"]]


def test_a_third_of_the_company_is_japanese() -> None:
    zones = Counter(row["property_hs_language"] for row in latest("hubspot.contact").values())
    assert 0.25 < zones["ja"] / sum(zones.values()) < 0.5
    assert any("株式会社" in row["name"] for row in read("stripe.customer"))


def test_the_last_day_brings_new_onboardings_with_hardly_any_usage() -> None:
    episodes = [row for row in truth("episodes") if row["episode"] == "onboarding_low_usage"]
    places = Counter(row["country"] for row in episodes)
    assert places["JP"] >= 2
    assert places["US"] >= 2
    workspaces = {row["stripe_customer_id"]: row["workspace_id"] for row in truth("customers")}
    for row in episodes:
        assert row["since"].startswith("2026-10-21")
        days = {
            track["timestamp"][:10]
            for track in read("segment.tracks")
            if track["context_group_id"] == workspaces[row["stripe_customer_id"]]
        }
        assert len(days) <= 2


def test_the_last_day_brings_key_features_unused_for_exactly_21_days() -> None:
    episodes = [row for row in truth("episodes") if row["episode"] == "feature_lapse"]
    people = {row["product_user_id"]: row for row in truth("identity")}
    contacts = latest("hubspot.contact")
    languages: Counter[str] = Counter()
    for row in episodes:
        mine = [
            track
            for track in read("segment.tracks")
            if track["user_id"] == row["product_user_id"] and track["received_at"] <= END
        ]
        uses = [track["timestamp"] for track in mine if track["event"] == row["feature"]]
        assert max(uses).startswith("2026-10-07")
        assert len({use for use in uses if use >= "2026-08-01"}) >= 5
        assert max(track["timestamp"] for track in mine) >= "2026-10-27"
        contact = contacts[people[row["product_user_id"]]["hubspot_contact_id"]]
        assert contact["property_hs_legal_basis"].startswith("Freely given consent")
        assert contact["property_hs_email_optout"] == "false"
        assert contact["_fivetran_deleted"] == "false"
        languages[contact["property_hs_language"][:2]] += 1
    assert languages["ja"] >= 2
    assert languages["en"] >= 2


def test_the_last_weeks_bring_collapses_of_customers_with_an_owner() -> None:
    episodes = [row for row in truth("episodes") if row["episode"] == "health_collapse"]
    assert len(episodes) >= 3
    companies = latest("hubspot.company")
    collapsed = 0
    for row in episodes:
        customer = next(
            one
            for one in truth("customers")
            if one["stripe_customer_id"] == row["stripe_customer_id"]
        )
        assert companies[customer["hubspot_company_id"]]["property_hubspot_owner_id"]
        days = [
            track["timestamp"][:10]
            for track in read("segment.tracks")
            if track["context_group_id"] == customer["workspace_id"]
        ]
        before = sum("2026-09-02" <= day < "2026-09-30" for day in days) / 28
        after = sum(day >= "2026-10-22" for day in days) / 7
        collapsed += after < 0.4 * before
    # the smallest work too rarely for a week to tell
    assert collapsed >= 6


def test_success_managers_talk_more_with_the_large_and_the_struggling() -> None:
    of_company = {
        row["engagement_id"]: row["company_id"] for row in read("hubspot.engagement_company")
    }
    calls = Counter(
        of_company.get(row["engagement_id"])
        for row in latest("hubspot.engagement_call", "engagement_id").values()
    )
    companies = latest("hubspot.company")
    health = {
        row["hubspot_company_id"]: float(row["latent_health_at_end"]) for row in truth("customers")
    }
    owned = [key for key, row in companies.items() if row["property_hubspot_owner_id"]]
    weak = [calls[key] for key in owned if health[key] < 0.4]
    strong = [calls[key] for key in owned if health[key] > 0.7]
    assert sum(weak) / len(weak) > sum(strong) / len(strong)
    # nobody who has no owner is called
    assert {key for key in calls if key in companies} <= set(owned)


def test_plans_reach_beyond_the_last_day_and_some_tasks_are_overdue() -> None:
    engagements = latest("hubspot.engagement")
    assert all(row["created_at"] <= END for row in engagements.values())
    ahead = [row for row in engagements.values() if row["timestamp"] > END]
    assert {row["type"] for row in ahead} >= {"MEETING"}
    overdue = [
        row
        for row in latest("hubspot.engagement_task", "engagement_id").values()
        if row["property_hs_task_status"] == "NOT_STARTED"
        and engagements[row["engagement_id"]]["timestamp"] <= END
    ]
    assert overdue
    assert any(row["starts_at"] > END for row in latest("webinars.webinar").values())


def test_deals_tell_what_became_of_the_subscriptions() -> None:
    deals = latest("hubspot.deal", "deal_id").values()
    for row in deals:
        closed = row["property_hs_is_closed"] == "true"
        assert closed == (row["deal_pipeline_stage_id"] in ("closedwon", "closedlost"))
        assert row["property_createdate"] <= END
        assert not closed or row["property_createdate"] < row["property_closedate"] <= END
    assert Counter(row["deal_pipeline_id"] for row in deals).keys() == {"default", "renewals"}
    assert any(row["deal_pipeline_stage_id"] == "closedlost" for row in deals)


def test_the_younger_tables_carry_dirt_too() -> None:
    companies = latest("hubspot.company")
    assert any(row["company_id"] not in companies for row in read("hubspot.deal_company"))
    linked = {row["deal_id"] for row in read("hubspot.deal_company")}
    assert any(row["deal_id"] not in linked for row in read("hubspot.deal"))
    assert any(row["company_id"] not in companies for row in read("hubspot.engagement_company"))
    assert any(row["is_deleted"] == "true" for row in read("hubspot.engagement"))
    sessions = latest("webinars.webinar")
    registrations = read("webinars.registration")
    assert any(row["webinar_id"] not in sessions for row in registrations)
    assert any(row["email"] != row["email"].lower() for row in registrations)
    assert len(registrations) > len(latest("webinars.registration"))
    goals = latest("success_plans.goal").values()
    assert any(row["workspace_id"] == "ws_unknown" for row in goals)
    assert any(not row["hubspot_company_id"] for row in goals)
    assert {row["status"] for row in goals} == {"open", "achieved", "missed", "dropped"}
    for row in goals:
        assert (row["status"] == "achieved") == bool(row["achieved_at"])
    assert {row["score"] for row in read("surveys.ces_answers")} == set("1234567")


def test_a_browser_agrees_to_analytics_or_refuses_for_good_and_most_agree() -> None:
    said: dict[str, set[str]] = {}
    for table in ("segment.pages", "segment.identifies"):
        for row in read(table):
            word = row["context_consent_category_preferences_analytics"]
            said.setdefault(row["anonymous_id"], set()).add(word)
    assert {len(words) for words in said.values()} == {1}
    agreed = sum("true" in words for words in said.values())
    assert 0.8 < agreed / len(said) < 0.9


def test_work_rests_on_weekends_and_in_golden_week() -> None:
    japanese = {
        f"ws_{row['stripe_customer_id'][4:]}"
        for row in truth("customers")
        if row["domain"].endswith(".example.jp")
    }
    days: Counter[date] = Counter()
    for row in read("segment.tracks"):
        if row["context_group_id"] in japanese:
            local = datetime.fromisoformat(row["timestamp"]) + timedelta(hours=9)
            days[local.date()] += 1
    golden = sum(days[date(2026, 5, day)] for day in (4, 5, 6))
    usual = sum(days[date(2026, 5, day)] for day in (18, 19, 20))
    assert golden < 0.25 * usual
    weekend = sum(count for day, count in days.items() if day.weekday() >= 5)
    assert weekend < 0.08 * sum(days.values())
