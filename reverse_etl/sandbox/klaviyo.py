"""Klaviyo, revision 2026-07-15: import jobs, lists, events, consent, deletion.

Contract: Klaviyo's OpenAPI file of that revision and its guide on rate limits. Every operation has
limits of its own, in two windows. An import is a job: nothing of it is there before it is
complete, in no promised order, and its bad rows are told apart. A bulk of events is answered 202
and has no job. The windows here roll, where Klaviyo's are fixed: a little stricter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reverse_etl.sandbox.klaviyo_contract import (
    CONTENT_TYPE,
    NAME,
    REVISION,
    conditions,
    invalid,
    item_of,
    malformed,
    page,
    refusal,
    resource,
    resources,
)
from reverse_etl.sandbox.klaviyo_events import Events
from reverse_etl.sandbox.klaviyo_imports import Imports
from reverse_etl.sandbox.people import People
from reverse_etl.sandbox.tool import Answer, Call, Handler, Reason, Refusal, Tool, is_let_in
from reverse_etl.sandbox.vendor import Context, Windows

_MEMBERS, _CONSENTS = 1_000, 100
_ID = "01SANDBOX"
_TIERS = {
    "xs": ((1, 1.0), (15, 60.0)),
    "s": ((3, 1.0), (60, 60.0)),
    "m": ((10, 1.0), (150, 60.0)),
    "l": ((75, 1.0), (700, 60.0)),
    "xl": ((350, 1.0), (3_500, 60.0)),
}


class Klaviyo(Tool):
    """One account."""

    name = NAME
    content_type = CONTENT_TYPE

    def __init__(self, context: Context) -> None:
        self._store, self._clock = context.store, context.clock
        self._people = People(self._store, self.name)
        portal = context.portal
        self._key = f"Klaviyo-API-Key {portal['api_key']}" if "api_key" in portal else None
        self._imports = Imports(self._store, self._people, portal, self._clock)
        self._flows: list[dict[str, Any]] = list(portal.get("flows", []))
        feedback = list(portal.get("feedback", []))
        self._events = Events(self._store, self._people, self._imports, self._record, feedback)
        super().__init__(context)

    def table(self) -> list[tuple[str, str, Handler]]:
        jobs = "/api/profile-bulk-import-jobs"
        members = "/api/lists/{id}/relationships/profiles"
        return [
            ("POST", jobs, self.paced("m import", self._imports.create)),
            ("GET", jobs + "/{id}", self.paced("m job", self._imports.show)),
            (
                "GET",
                jobs + "/{id}/import-errors",
                self.paced("m import-errors", self._imports.show_errors),
            ),
            ("GET", "/api/profiles", self.paced("l profiles", self._show_profiles)),
            ("GET", "/api/lists", self.paced("l lists", self._show_lists)),
            ("POST", "/api/lists", self.paced("m make-list", self._make_list)),
            ("POST", members, self.paced("m add", self._add)),
            ("DELETE", members, self.paced("m remove", self._remove)),
            ("POST", "/api/event-bulk-create-jobs", self.paced("m events", self._events.take)),
            ("GET", "/api/metrics", self.paced("m metrics", self._events.show_metrics)),
            ("GET", "/api/events", self.paced("xl show-events", self._events.show)),
            ("POST", "/api/data-privacy-deletion-jobs", self.paced("s erase", self._erase)),
            (
                "POST",
                "/api/profile-subscription-bulk-delete-jobs",
                self.paced("l unsubscribe", self._unsubscribe),
            ),
        ]

    def refusal(self, reason: Reason, message: str) -> Answer:
        return Answer(404) if reason == "nowhere" else malformed(message).answer

    def _admit(self) -> None:
        """Calls are counted by group: see `let_in`."""

    def let_in(self, call: Call, group: str) -> None:
        """Every group of calls has limits of its own."""
        if not is_let_in(call, self._key):
            raise refusal(401, "not_authenticated", "Missing or invalid private key.")
        if call.headers.get("revision") != REVISION:
            raise refusal(400, "invalid", f"revision {REVISION} is expected", violation="revision")
        pause = self._window(group).admit()
        if pause is not None:
            answer = refusal(429, "throttled", f"Expected available in {pause:.0f} second.").answer
            headers = {"Retry-After": str(int(pause) + 1)}
            raise Refusal(Answer(429, answer.body, headers), f"rate limit {group}")
        self._imports.work_off(self._clock())

    def _window(self, group: str) -> Windows:
        if group not in self._windows:
            tier, limit = group.partition(" ")[0], self.limit
            tiers = self.portal.get("tiers", {})
            limits = [tuple(pair) for pair in tiers.get(tier, _TIERS[tier])]
            if limit.calls is not None:
                limits = [(limit.calls, limit.window_seconds)]
            self._windows[group] = Windows(limits, self._clock)
        return self._windows[group]

    def headers_of(self, group: str) -> Mapping[str, str]:
        windows = self._window(group)
        calls, remaining, reset = windows.longest()
        policy = ", ".join(f"{n};w={seconds:g}" for n, seconds in windows.limits)
        return {
            "RateLimit-Limit": f"{calls}, {policy}",
            "RateLimit-Remaining": str(remaining),
            "RateLimit-Reset": str(int(reset)),
        }

    # Profiles and lists

    def _show_profiles(self, call: Call) -> Answer:
        asked = conditions(call.query.get("filter", ""))
        people = self._people.all() if not asked else []
        for _, field, values in asked:
            if field == "id":
                people += [r for v in values if (r := self._record(v)) is not None]
            elif field in ("email", "external_id"):
                values = [v.lower() for v in values] if field == "email" else values
                people += self._people.found(field, values).values()
            else:
                raise invalid(f"{field} is not a filterable field")
        shown = [self._shown_profile(record) for record in sorted(set(people))]
        return Answer(200, page(call, shown, default=20, most=100))

    def _shown_profile(self, record: int) -> dict[str, Any]:
        return item_of("profile", f"{_ID}{record}", self._people.attributes(record))

    def _record(self, number: str) -> int | None:
        digits = number.removeprefix(_ID)
        is_one = number.startswith(_ID) and digits.isdigit() and self._people.has(int(digits))
        return int(digits) if is_one else None

    def _lists(self) -> list[Any]:
        sql = "select id, name, created_at from lists where vendor = ? order by id"
        return self._store.rows(sql, (self.name,))

    def _show_lists(self, call: Call) -> Answer:
        wanted = [
            value
            for _, field, values in conditions(call.query.get("filter", ""))
            for value in values
            if field == "name"
        ]
        shown: list[dict[str, Any]] = []
        included: dict[str, Any] = {}
        for row in self._lists():
            if wanted and row["name"] not in wanted:
                continue
            flows = [flow for flow in self._flows if flow["list"] == row["name"]]
            ids = [{"type": "flow", "id": flow["id"]} for flow in flows]
            one = self._shown_list(row["id"], row["name"], row["created_at"])
            if call.query.get("include") == "flow-triggers":
                one["relationships"] = {"flow-triggers": {"data": ids}}
                included |= {flow["id"]: self._shown_flow(flow) for flow in flows}
            shown.append(one)
        answer = Answer(200, page(call, shown, default=10, most=10))
        return Answer(
            200, answer.body | ({"included": list(included.values())} if included else {})
        )

    def _shown_flow(self, flow: Mapping[str, Any]) -> dict[str, Any]:
        names = ("name", "status", "archived")
        attributes = {name: flow[name] for name in names} | {"trigger_type": "Added to List"}
        return item_of("flow", flow["id"], attributes)

    def _shown_list(self, number: int, name: str, created: str) -> dict[str, Any]:
        attributes = {"name": name, "created": created, "updated": created}
        return item_of("list", f"L{number}", attributes | {"opt_in_process": "double_opt_in"})

    def _make_list(self, call: Call) -> Answer:
        attributes = resource(call.body, "list", {"name"}, {"opt_in_process"})
        with self._store.transaction() as db:
            made = db.execute(
                "insert into lists(vendor, object, name, processing, created_at, updated_at)"
                " values (?, 'people', ?, 'manual', ?, ?)",
                (self.name, attributes["name"], call.now, call.now),
            )
        number = int(made.lastrowid or 0)
        return Answer(201, {"data": self._shown_list(number, attributes["name"], call.now)})

    def _add(self, call: Call) -> Answer:
        name, people = self._addressed(call)
        with self._store.transaction() as db:
            for record in people:
                row = (int(call.path["id"][1:]), record, call.now)
                made = db.execute("insert or ignore into memberships values (?, ?, ?)", row)
                if made.rowcount and any(
                    f["list"] == name and f["status"] == "live" for f in self._flows
                ):
                    self._joined += 1
        return Answer(204)

    def _remove(self, call: Call) -> Answer:
        _, people = self._addressed(call)
        with self._store.transaction() as db:
            for record in people:
                row = (int(call.path["id"][1:]), record)
                db.execute("delete from memberships where list_id = ? and record_id = ?", row)
        return Answer(204)

    def _addressed(self, call: Call) -> tuple[str, list[int]]:
        names = {f"L{row['id']}": str(row["name"]) for row in self._lists()}
        if call.path["id"] not in names:
            raise refusal(404, "not_found", "A list with that id does not exist.")
        members = resources(call.body, "profile", attributes=False)
        if not 1 <= len(members) <= _MEMBERS:
            raise invalid("1 to 1,000 profiles are accepted", "batch size")
        records = [self._record(str(member["id"])) for member in members]
        if None in records:
            raise refusal(404, "not_found", "A profile with one of these ids does not exist.")
        return names[call.path["id"]], [record for record in records if record is not None]

    # People's wishes

    def _erase(self, call: Call) -> Answer:
        attributes = resource(call.body, "data-privacy-deletion-job", {"profile"})
        profile = attributes["profile"]["data"]
        named = {n: v for n, v in profile.get("attributes", {}).items() if v}
        named |= {"id": profile["id"]} if profile.get("id") else {}
        if len(named) != 1 or not set(named) <= {"id", "email", "phone_number"}:
            raise invalid("Exactly one of id, email, phone_number is expected", "shape")
        [(name, value)] = named.items()
        found = (
            self._record(value)
            if name == "id"
            else self._people.found(name, [value.lower()]).get(value.lower())
        )
        if found is not None:
            with self._store.transaction() as db:
                self._people.remove(db, found)
        return Answer(202)

    def _unsubscribe(self, call: Call) -> Answer:
        """Without a list, or for who is not in it, this is an opt-out from everything."""
        kind = "profile-subscription-bulk-delete-job"
        attributes = resource(call.body, kind, {"profiles"})
        profiles = resources(attributes["profiles"], "profile")
        if not 1 <= len(profiles) <= _CONSENTS:
            raise invalid("1 to 100 profiles are accepted", "batch size")
        for profile in profiles:
            channels = profile["attributes"].get("subscriptions")
            if not isinstance(channels, dict) or not channels:
                raise malformed("subscriptions is required")
        rows = [(self.name, str(p["attributes"].get("email", "")).lower()) for p in profiles]
        with self._store.transaction() as db:
            db.executemany(
                "insert or ignore into opt_outs values (?, ?, 'unsubscribed', ?)",
                [(*row, call.now) for row in rows],
            )
        return Answer(202)

    def counts(self) -> dict[str, Any]:
        """What the account holds, how often flows started, breaches of the contract."""
        event = "select count(*) from events where vendor = 'klaviyo' and outcome = ?"
        self._imports.work_off(self._clock())
        return {
            "people": self._people.count(),
            "lists": self._store.tally(
                "select l.name, count(m.record_id) from lists l left join memberships m"
                " on m.list_id = l.id where l.vendor = 'klaviyo' group by l.id order by l.name"
            ),
            "events": self._store.tally(
                "select name, count(*) from events"
                " where vendor = 'klaviyo' and outcome = 'accepted' group by 1 order by 1"
            ),
            "events_dropped": self._store.number(event, ("dropped",)),
            "events_duplicate": self._store.number(event, ("duplicate",)),
            "flows_started": self._joined + self._events.started,
            "unsubscribed": self._store.number(
                "select count(*) from opt_outs where vendor = 'klaviyo'"
            ),
            **super().counts(),
        }

    def forget(self) -> None:
        """The store has been emptied: so are windows and jobs under way."""
        self._windows: dict[str, Windows] = {}
        self._imports.forget()
        self._events.started = self._joined = 0


VENDOR = Klaviyo
