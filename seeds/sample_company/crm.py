"""HubSpot: companies, contacts and owners."""

from typing import TYPE_CHECKING, Final

from seeds.sample_company.calendar import DAY, Window
from seeds.sample_company.people import Person
from seeds.sample_company.rows import Rows, pick

if TYPE_CHECKING:
    from seeds.sample_company.stories import Story

PORTAL_ID: Final = 4_727_000
# owner id, given name, family name, mail name; the first four look after Japan
_OWNERS: Final = [
    (70_001, "美穂", "大野", "miho.ohno"),
    (70_002, "健", "桜井", "ken.sakurai"),
    (70_003, "恵", "西村", "megumi.nishimura"),
    (70_004, "Naomi", "Clarke", "naomi.clarke"),
    (70_005, "Tom", "Barrett", "tom.barrett"),
    (70_006, "Priya", "Nair", "priya.nair"),
    (70_007, "Lena", "Vogt", "lena.vogt"),
    (70_008, "Marcus", "Hill", "marcus.hill"),
]
_JAPAN_OWNERS: Final = 4


def add_owners(rows: Rows, window: Window) -> None:
    """The success managers."""
    created = window.start - 500 * DAY
    for owner_id, given, family, local in _OWNERS:
        rows.add(
            "hubspot.owner",
            created,
            owner_id=owner_id,
            portal_id=PORTAL_ID,
            type="PERSON",
            email=f"{local}@kumo.example",
            first_name=given,
            last_name=family,
            active_user_id=owner_id + 900_000,
            created_at=created,
            updated_at=created,
        )


def add_crm(story: "Story", rows: Rows) -> None:
    """The company and its contacts."""
    rng = story.rng("crm")
    company, window = story.company, story.window
    created = max(window.start - 30 * DAY, story.started_at - int(rng.integers(1, 60)) * DAY)
    owners = (
        _OWNERS[:_JAPAN_OWNERS] if company.country.code == "JP" else _OWNERS[_JAPAN_OWNERS - 1 :]
    )
    owner_id = pick(rng, owners)[0]
    living = (
        item for item in story.subscriptions if item.ended_at is None or item.ended_at > window.end
    )
    main = next(living, None)
    renewal, term = None, None
    if main is not None and main.months == 12 and main.paid_from <= window.end:
        renewal = main.periods(window.end)[-1][1] // DAY * DAY
        term = 12
    linked = rng.random(2) >= 0.08
    has_paid = any(item.was_paid and item.paid_from <= window.end for item in story.subscriptions)
    rows.add(
        "hubspot.company",
        max(created, story.started_at),
        id=company.hubspot_id,
        is_deleted=False,
        property_name=company.name,
        property_domain=company.domain,
        property_industry=company.industry,
        property_country=company.country.name if rng.random() >= 0.04 else None,
        property_numberofemployees=company.employees,
        property_annualrevenue=company.employees * int(rng.integers(60, 240)) * 1_000,
        property_hubspot_owner_id=owner_id if story.has_owner else None,
        property_lifecyclestage="other"
        if story.is_internal
        else "customer"
        if has_paid
        else "opportunity",
        property_createdate=created,
        property_stripe_customer_id=company.stripe_id if linked[0] else None,
        property_workspace_id=company.workspace_id if linked[1] else None,
        property_renewal_date=renewal,
        property_contract_term_months=term,
    )
    for person in story.people:
        if person.in_crm:
            _add_contact(story, person, rng.random(4).tolist(), rows)


def _add_contact(story: "Story", person: Person, draws: list[float], rows: Rows) -> None:
    company = story.company
    email = person.email
    if draws[0] < 0.04:
        email = email.replace("@", "@".upper()).title()
    elif draws[0] < 0.06:
        email += " "
    rows.add(
        "hubspot.contact",
        person.left_at or person.joined_at,
        id=person.hubspot_id,
        _fivetran_deleted=person.is_deleted,
        property_email=email,
        property_firstname=person.first_name,
        property_lastname=person.last_name,
        property_jobtitle=person.job_title,
        property_associatedcompanyid=company.hubspot_id if draws[1] >= 0.03 else None,
        property_hs_buying_role=person.buying_role,
        property_hs_language=person.language,
        property_country=company.country.name if draws[2] >= 0.06 else None,
        property_hs_timezone=company.zone.hubspot if draws[3] >= 0.1 else None,
        property_hs_email_optout=person.opted_out,
        property_hs_legal_basis=person.legal_basis,
        property_createdate=person.joined_at,
    )
