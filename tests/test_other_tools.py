"""Intercom, Salesforce and Marketo in the place of Zendesk and HubSpot: all of it builds, and what
they know comes through.
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seeds.sample_company.__main__ import main as write_sample
from tests.conftest import ProjectCopy

pytestmark = pytest.mark.slow

Row = dict[str, Any]
SYNCED = "2026-10-20 06:00:00"
ON, OFF = ("intercom", "salesforce", "marketo"), ("zendesk", "hubspot")


def intercom(person: Row) -> dict[str, list[Row]]:
    """One conversation, closed, opened again and closed; versions that are history by now."""
    at = {"_fivetran_active": "true", "created_at": "2026-10-01 00:00:00"}
    old = at | {"_fivetran_active": "false"}
    company = {"id": "ic1", "company_id": "ws_000", "name": "Harbor", "website": ""}
    contact = {"id": "icc1", "external_id": person["product_user_id"], "email": person["email"],
               "name": "A Person", "role": "user", "unsubscribed_from_emails": "false",
               "updated_at": "2026-10-02 00:00:00"}  # fmt: skip
    talk = {"id": "9001", "priority": "priority", "source_author_id": "icc1",
            "source_author_type": "user", "updated_at": "2026-10-05 00:00:00"}  # fmt: skip
    rated = {"conversation_rating_value": "5",
             "conversation_rating_created_at": "2026-10-05 00:00:00"}  # fmt: skip
    parts = [("comment", "user", "2026-10-01 01:00:00"), ("note", "admin", "2026-10-01 02:00:00"),
             ("comment", "admin", "2026-10-01 03:00:00"), ("close", "admin", "2026-10-02 00:00:00"),
             ("open", "user", "2026-10-03 00:00:00"),
             ("close", "admin", "2026-10-04 00:00:00")]  # fmt: skip
    return {
        "company_history": [company | old | {"company_id": "ws_other"}, company | at],
        "contact_history": [contact | at],
        "contact_company_history": [{"contact_id": "icc1", "company_id": "ic1"} | at],
        "conversation_history": [
            talk | old | {"state": "open"},
            talk | at | rated | {"state": "closed"},
            # what a teammate sends is no ticket
            talk | at | {"id": "9002", "source_author_type": "admin", "state": "open"},
        ],
        "conversation_part_history": [
            {"id": f"p{number}", "conversation_id": "9001", "part_type": kind, "author_type": who,
             "body": "text"} | at | {"created_at": moment}
            for number, (kind, who, moment) in enumerate(parts)
        ],
        "admin": [{"id": "a1", "email": "support@kumo.example", "name": "An Agent"}],
    }  # fmt: skip


def salesforce(person: Row) -> dict[str, list[Row]]:
    """An account found by its website, with a column that nobody else has."""
    at = {"is_deleted": "false", "created_date": "2026-01-01 00:00:00"}
    of_account = {"account_id": "001A", "owner_id": "005A"} | at
    domain = person["email"].split("@")[1]
    return {
        "account": [
            {"id": "001A", "name": "Harbor", "website": f"https://www.{domain}/en",
             "owner_id": "005A", "industry": "Software", "number_of_employees": "120",
             "favourite_colour_c": "blue"} | at,
            {"id": "001B", "name": "Gone", "website": domain, "owner_id": "005B"}
            | at | {"is_deleted": "true"},
        ],
        "contact": [
            {"id": "003A", "email": person["email"].upper(), "first_name": "A",
             "last_name": "Person", "has_opted_out_of_email": "false"} | of_account
        ],
        "user": [{"id": "005A", "email": "owner@kumo.example", "first_name": "O",
                  "last_name": "Wner"}],
        "opportunity": [
            {"id": "006A", "name": "Renewal", "stage_name": "Closed Won", "is_closed": "true",
             "is_won": "true", "amount": "1200", "close_date": "2026-10-01"} | of_account
        ],
        "task": [
            {"id": "00TA", "who_id": "003A", "subject": "Call", "task_subtype": "Call",
             "status": "Completed", "activity_date": "2026-10-02"} | of_account,
            {"id": "00TB", "who_id": "003A", "subject": "Send notes", "task_subtype": "Task",
             "status": "Not Started", "activity_date": "2026-11-30"} | of_account,
            {"id": "00TC", "subject": "Ask again", "task_subtype": "Task",
             "status": "Waiting on someone else", "activity_date": "2026-11-15"} | of_account,
        ],
        "event": [
            {"id": "00UA", "who_id": "003A", "subject": "Review",
             "start_date_time": "2026-12-01 10:00:00"} | of_account
        ],
        "campaign": [{"id": "701A", "name": "October webinar", "type": "Webinar"}],
        "campaign_member": [
            {"id": "00vA", "campaign_id": "701A", "contact_id": "003A", "status": "Responded",
             "has_responded": "true", "first_responded_date": "2026-10-03"} | at
        ],
    }  # fmt: skip


def marketo(person: Row) -> dict[str, list[Row]]:
    """A mail that was opened by a machine, clicked by a person and answered by an opt-out."""
    mail = {"lead_id": "77", "primary_attribute_value_id": "500", "campaign_run_id": "1"}
    tables: dict[str, list[Row]] = {
        "lead": [{"id": "77", "email": person["email"], "unsubscribed": "false",
                  "created_at": "2026-01-01 00:00:00"}]
    }  # fmt: skip
    for day, (table, by_machine) in enumerate(
        [("send_email", ""), ("email_delivered", ""), ("open_email", "true"),
         ("click_email", "false"), ("unsubscribe_email", "")], start=1
    ):  # fmt: skip
        tables[f"activity_{table}"] = [
            mail | {"id": "1", "activity_date": f"2026-10-0{day} 00:00:00",
                    "is_bot_activity": by_machine}
        ]  # fmt: skip
    # nothing bounced: the file has a header alone
    tables["activity_email_bounced"] = []
    return tables


def write(folder: Path, tables: dict[str, list[Row]]) -> None:
    """The files as a loader would land them."""
    folder.mkdir(parents=True)
    for table, rows in tables.items():
        columns = dict.fromkeys(name for row in rows for name in row) or {"id": None}
        with (folder / f"{table}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [*columns, "_fivetran_synced"], restval="")
            writer.writeheader()
            writer.writerows(row | {"_fivetran_synced": SYNCED} for row in rows)


@pytest.fixture(scope="module")
def person() -> Row:
    """Filled with the first contact of the first customer, once the sample is written."""
    return {}


@pytest.fixture(scope="module")
def other(project_copy: ProjectCopy, person: Row) -> ProjectCopy:
    """A company of eight customers with the other tools, built."""
    seeds = project_copy.root / "seeds"
    assert write_sample(["--customers", "8", "--out", str(seeds)]) == 0
    with (seeds / "truth/identity.csv").open(encoding="utf-8") as file:
        person.update(next(row for row in csv.DictReader(file) if row["product_user_id"]))
    for source, tables in (
        ("intercom", intercom(person)),
        ("salesforce", salesforce(person)),
        ("marketo", marketo(person)),
    ):
        write(seeds / "raw" / source, tables)
    project = project_copy.root / "dbt_project/dbt_project.yml"
    text = project.read_text()
    for source in (*ON, *OFF):
        text, count = re.subn(
            rf"(?m)^(    {source}: {{enabled: )\w+",
            rf"\g<1>{'true' if source in ON else 'false'}",
            text,
        )
        assert count == 1, source
    project.write_text(text)
    run(project_copy, sys.executable, "-m", "orchestration.landing")
    folder = str(project_copy.root / "dbt_project")
    run(
        project_copy,
        str(Path(sys.executable).parent / "dbt"),
        *("build", "--quiet", "--threads", "2", "--project-dir", folder, "--profiles-dir", folder),
        *("--exclude", "resource_type:unit_test"),
    )
    return project_copy


def run(copy: ProjectCopy, *command: str) -> None:
    """Run a command in the copy; it must end well."""
    environment = copy.environment | {"WAREHOUSE_PATH": str(copy.root / "data/warehouse.duckdb")}
    done = subprocess.run(
        command, cwd=copy.root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_a_conversation_counts_as_a_ticket_with_its_reply_solution_and_rating(
    other: ProjectCopy,
) -> None:
    rows = other.query(
        "select ticket_id, source_name, customer_id, status, is_open, reopenings, satisfaction,"
        " cast(first_reply_at as varchar), cast(solved_at as varchar), contact_id is not null"
        " from intermediate.int_tickets__attributed"
    )
    replied, solved = "2026-10-01 03:00:00", "2026-10-04 00:00:00"
    assert rows == [
        ("intercom-9001", "intercom", "cus_000", "closed", False, 1, 1.0, replied, solved, True)
    ]
    assert other.query("select satisfaction from intermediate.int_satisfaction__answered") == [
        (1.0,)
    ]


def test_the_owner_of_the_account_is_the_owner_of_the_customer(other: ProjectCopy) -> None:
    rows = other.query(
        "select salesforce_account_id, owner_id, crm, employees, intercom_company_id"
        " from intermediate.int_customers__identified where customer_id = 'cus_000'"
    )
    assert rows == [("001A", "005A", "salesforce", 120, "ic1")]


def test_an_opt_out_in_marketo_stops_every_mail(other: ProjectCopy, person: Row) -> None:
    rows = other.query(
        "select is_unsubscribed, may_be_mailed from marts.contacts"
        f" where email = '{person['email']}'"
    )
    assert rows == [(True, False)]


def test_a_mail_of_marketo_counts_by_what_people_did_and_not_machines(other: ProjectCopy) -> None:
    rows = other.query(
        "select source_name, customer_id, cast(reacted_date as varchar)"
        " from intermediate.int_mails__engaged"
    )
    assert rows == [("marketo", "cus_000", "2026-10-04")]


def test_all_records_of_a_person_are_one_contact(other: ProjectCopy, person: Row) -> None:
    rows = other.query(
        "select user_id, salesforce_contact_id, intercom_contact_id"
        f" from intermediate.int_contacts__identified where email = '{person['email']}'"
    )
    assert rows == [(person["product_user_id"], "003A", "icc1")]


def test_what_salesforce_plans_has_not_happened_yet(other: ProjectCopy) -> None:
    rows = other.query(
        "select engagement_id, engagement_type, is_completed from"
        " staging.stg_salesforce__activities order by engagement_id"
    )
    assert rows == [
        ("00TA", "call", True),
        ("00TB", "task", False),
        ("00TC", "task", False),
        ("00UA", "meeting", False),
    ]
    [(is_won, amount)] = other.query(
        "select is_won, amount from staging.stg_salesforce__opportunities"
    )
    assert (is_won, float(amount)) == (True, 1200.0)
    [(responded,)] = other.query(
        "select has_responded from staging.stg_salesforce__campaign_members"
    )
    assert responded


def test_the_tools_that_are_off_leave_no_rows(other: ProjectCopy) -> None:
    for model in ("stg_zendesk__tickets", "stg_hubspot__companies", "stg_hubspot__deals"):
        assert other.query(f"select count(*) from staging.{model}") == [(0,)]


def test_what_owners_do_in_salesforce_counts_as_touch_and_keeps_a_customer_out_of_the_queue(
    other: ProjectCopy,
) -> None:
    acts = other.query(
        "select act_id, customer_id, contact_id is not null, act_type, task_status, is_talk"
        " from intermediate.int_owner_acts__attributed order by 1"
    )
    assert acts == [
        ("salesforce-00TA", "cus_000", True, "call", "completed", True),
        ("salesforce-00TB", "cus_000", True, "task", "not started", False),
        # names nobody: the company it was filed under
        ("salesforce-00TC", "cus_000", False, "task", "waiting", False),
        ("salesforce-00UA", "cus_000", True, "meeting", None, False),
    ]
    assert other.query(
        "select cast(last_talk_date as varchar), cast(next_talk_date as varchar),"
        " cast(snoozed_until_date as varchar)"
        " from marts.customer_touch_plan where customer_id = 'cus_000'"
    ) == [("2026-10-02", "2026-12-01", "2026-11-15")]
    assert other.query(
        "select touchpoint_type, reaction from marts.touchpoints where source_name = 'salesforce'"
    ) == [("call", "replied")]
