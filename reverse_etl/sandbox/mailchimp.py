"""Mailchimp: one account with one audience.

Contract: the Marketing API 3.0 (audiences, members, segments, tags, events, journeys, reports).
Errors are problem documents. What the documentation leaves open is strict here: a member who is not
in the audience needs a status, and an address that unsubscribed and was archived since cannot be
subscribed through the API.
"""

import base64
import binascii
import hmac
from collections.abc import Collection, Mapping
from typing import Any

from starlette.requests import Request

from reverse_etl.sandbox.mailchimp_contract import (
    ADDRESS,
    MEMBER_FIELDS,
    STATUSES,
    error,
    hash_of,
    problem,
    shown,
    unfit,
)
from reverse_etl.sandbox.tool import Answer, Call, Handler, Reason, Refusal, Tool
from reverse_etl.sandbox.vendor import Context

_MOVES = (("members_to_add", "members_added"), ("members_to_remove", "members_removed"))
_KNOWN_LISTS = ("new_members", "updated_members")


class Mailchimp(Tool):
    """Ten simultaneous connections, no other limit; answers carry no rate headers."""

    name = "mailchimp"
    concurrency = 10

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._keys = [str(key).encode() for key in self.portal.get("api_keys", [])]
        self._audience = str(self.portal.get("audience_id", "audience"))
        self._merge = dict(self.portal.get("merge_fields", {}))
        self._journeys = {str(step) for step in self.portal.get("journeys", [])}

    def table(self) -> list[tuple[str, str, Handler]]:
        audience, member = "/3.0/lists/{list}", "/3.0/lists/{list}/members/{hash}"
        segment = f"{audience}/segments/{{segment}}"
        step = "/3.0/customer-journeys/journeys/{journey}/steps/{step}/actions/trigger"
        return [
            ("GET", audience, self._show_audience),
            ("POST", audience, self._batch),
            ("GET", f"{audience}/merge-fields", self._show_merge_fields),
            ("GET", f"{audience}/members", self._show_members),
            ("PUT", member, self._put),
            ("PATCH", member, self._patch),
            ("DELETE", member, self._archive),
            ("GET", member, self._show),
            ("POST", f"{member}/tags", self._tag),
            ("POST", f"{member}/events", self._event),
            ("POST", f"{member}/actions/delete-permanent", self._erase),
            ("GET", f"{audience}/segments", self._show_segments),
            ("POST", f"{audience}/segments", self._make_segment),
            ("POST", segment, self._change_segment),
            ("GET", f"{segment}/members", self._show_segment),
            ("GET", f"{audience}/abuse-reports", self._abuse),
            ("GET", "/3.0/reports", self._reports),
            ("GET", "/3.0/reports/{mail}/email-activity", self._activity),
            ("POST", step, self._trigger),
        ]

    def authenticate(self, request: Request) -> None:
        scheme, _, packed = request.headers.get("authorization", "").partition(" ")
        try:
            key = base64.b64decode(packed, validate=True).partition(b":")[2]
        except binascii.Error:
            key = b""
        if scheme.lower() != "basic" or not any(hmac.compare_digest(key, k) for k in self._keys):
            raise Refusal(problem(401, "API Key Invalid", "Your API key may be invalid."))

    def refusal(self, reason: Reason, message: str) -> Answer:
        status, title = {
            "shape": (400, "Invalid Resource"),
            "nowhere": (404, "Resource Not Found"),
        }.get(reason, (429, "Too Many Requests"))
        return problem(status, title, message)

    # Members

    def _batch(self, call: Call) -> Answer:
        self._known_audience(call)
        body = self._object(call.body, {"members", "update_existing", "sync_tags"})
        members = body.get("members")
        if not isinstance(members, list) or len(members) > 500:
            raise self.breach("members: a list of at most 500", "batch size")
        update = body.get("update_existing", False)
        found: dict[str, list[Any]] = {"new_members": [], "updated_members": [], "errors": []}
        seen: set[str] = set()
        for item in members:
            address = str(self._object(item, MEMBER_FIELDS).get("email_address", ""))
            if address.lower() in seen:
                if not call.flag("skip_duplicate_check"):
                    found["errors"].append(error(address, "Duplicate in the request."))
                continue
            seen.add(address.lower())
            held = self._held(hash_of(address))
            is_there = held is not None and held[1]["status"] != "archived"
            if is_there and not update:
                words = f"{address} is already a list member, do you want to update?"
                found["errors"].append(error(address, words, "ERROR_CONTACT_EXISTS"))
            elif objection := self._objection(item, held):
                found["errors"].append(error(address, objection))
            else:
                kind = _KNOWN_LISTS[is_there]
                found[kind].append(self._write(item, held, call.now))
        totals = {
            "total_created": len(found["new_members"]),
            "total_updated": len(found["updated_members"]),
            "error_count": len(found["errors"]),
        }
        return Answer(200, found | totals)

    def _put(self, call: Call) -> Answer:
        self._known_audience(call)
        item = self._object(call.body, MEMBER_FIELDS)
        held = self._held(call.path["hash"])
        if held is None and not item.get("status_if_new"):
            raise self.breach("status_if_new is required for a new member", "shape")
        status = item.get("status") if held else item["status_if_new"]
        item = {k: v for k, v in item.items() if k != "status_if_new"}
        item |= {"status": status} if status else {}
        if words := self._objection(item, held):
            title = "Forgotten Email Not Subscribed" if "permanently" in words else "Invalid"
            raise Refusal(problem(400, title, words))
        return Answer(200, self._write(item, held, call.now))

    def _patch(self, call: Call) -> Answer:
        held = self._member(call)
        item = self._object(call.body, MEMBER_FIELDS)
        address = item.get("email_address", held[1]["email_address"])
        other = self._held(hash_of(address))
        if other is not None and other[0] != held[0]:
            raise Refusal(problem(400, "Member Exists", f"{address} is already a list member."))
        if words := self._objection({"email_address": address, **item}, held):
            raise Refusal(problem(400, "Invalid Resource", words))
        return Answer(200, self._write({"email_address": address, **item}, held, call.now))

    def _objection(
        self, item: Mapping[str, Any], held: tuple[int, dict[str, Any]] | None
    ) -> str | None:
        """Why a member cannot be written like this."""
        address, status = str(item.get("email_address", "")), item.get("status")
        if not ADDRESS.fullmatch(address):
            return f"{address} looks fake or invalid, please enter a real email address."
        if self.store.number(
            "select count(*) from opt_outs where vendor = 'mailchimp' and address = ?"
            " and reason = 'erased'",
            (hash_of(address),),
        ):
            return f"{address} was permanently deleted and cannot be re-imported."
        if status is not None and status not in STATUSES:
            return "status: The value is not one of the known ones."
        if (held is None or held[1]["status"] == "archived") and status is None:
            return "status: This value should not be blank for a new member."
        was = held[1].get("opted_out", False) if held else False
        if status == "subscribed" and was and held and held[1]["status"] == "archived":
            return f"{address} is in a compliance state and cannot be subscribed."
        for tag, value in item.get("merge_fields", {}).items():
            if tag not in self._merge:
                return f"merge_fields.{tag}: this merge field does not exist."
            if words := unfit(str(self._merge[tag].get("type", "text")), value):
                return f"merge_fields.{tag}: {words}"
        return None

    def _write(
        self, item: Mapping[str, Any], held: tuple[int, dict[str, Any]] | None, now: str
    ) -> dict[str, Any]:
        before = held[1] if held else {"merge_fields": {}, "opted_out": False, "silent": []}
        address = str(item["email_address"])
        status = item.get("status") or before["status"]
        after = before | {k: v for k, v in item.items() if k != "merge_fields"}
        after |= {
            "merge_fields": before["merge_fields"] | item.get("merge_fields", {}),
            "status": status,
            "id": hash_of(address),
            "last_changed": now.replace(".000", ""),
            "opted_out": before["opted_out"] or status == "unsubscribed",
        }
        if status == "subscribed" and before.get("status") == "unsubscribed":
            after["resubscribed"] = True  # allowed, and just what a careful client never does
        unique = {"hash": hash_of(address)}
        self.records.put("contacts", after, now, unique=unique, record_id=held[0] if held else None)
        return shown(after)

    def _archive(self, call: Call) -> Answer:
        record_id, member = self._member(call)
        if member["status"] == "archived":
            raise Refusal(problem(405, "Method Not Allowed", "This member cannot be removed."))
        unique = {"hash": member["id"]}
        after = member | {"status": "archived"}
        self.records.put("contacts", after, call.now, unique=unique, record_id=record_id)
        return Answer(204)

    def _erase(self, call: Call) -> Answer:
        record_id, member = self._member(call)
        self.records.delete(record_id)
        with self.store.transaction() as db:
            db.execute(
                "insert or ignore into opt_outs values ('mailchimp', ?, 'erased', ?)",
                (member["id"], call.now),
            )
        return Answer(204)

    def _tag(self, call: Call) -> Answer:
        record_id, _ = self._member(call)
        body = self._object(call.body, {"tags", "is_syncing"})
        for tag in body.get("tags", []):
            if set(tag) != {"name", "status"} or tag["status"] not in ("active", "inactive"):
                raise self.breach("tags: name and status (active, inactive)", "shape")
            list_id = self.records.list_id("contacts", tag["name"])
            if tag["status"] == "inactive":
                if list_id is not None:
                    self.records.leave(list_id, record_id)
                continue
            list_id = list_id or self.records.make_list("contacts", tag["name"], call.now)
            self._enter(list_id, record_id, call.now, fires=not body.get("is_syncing", False))
        return Answer(204)

    def _enter(self, list_id: int, record_id: int, now: str, *, fires: bool) -> bool:
        """Into a segment; automations that start on a tag start here."""
        if not self.records.join(list_id, record_id, now):
            return False
        if fires:
            self.records.log_event("automation: tag added", record_id, now, now, {"tag": list_id})
        return True

    def _event(self, call: Call) -> Answer:
        record_id, _ = self._member(call)
        body = self._object(call.body, {"name", "properties", "is_syncing", "occurred_at"})
        name, properties = body.get("name", ""), body.get("properties", {})
        if not isinstance(name, str) or not 2 <= len(name) <= 30:
            raise self.breach("name: 2 to 30 characters", "event name")
        if not all(isinstance(value, str) for value in properties.values()):
            raise self.breach("properties: strings only", "shape")
        occurred = body.get("occurred_at", call.now)
        name = f"{name} (synced)" if body.get("is_syncing") else name
        self.records.log_event(name, record_id, occurred, call.now, properties)
        return Answer(204)

    def _trigger(self, call: Call) -> Answer:
        step = f"{call.path['journey']}/{call.path['step']}"
        if step not in self._journeys:
            raise Refusal(problem(404, "Resource Not Found", "There is no such journey step."))
        address = self._object(call.body, {"email_address"}).get("email_address", "")
        held = self._held(hash_of(str(address)))
        if held is None or held[1]["status"] == "archived":
            raise Refusal(problem(404, "Resource Not Found", "The contact is not in the audience."))
        self.records.log_event(f"journey {step}", held[0], call.now, call.now, {})
        return Answer(204)

    # Segments

    def _make_segment(self, call: Call) -> Answer:
        self._known_audience(call)
        body = self._object(call.body, {"name", "static_segment", "options"})
        name = body.get("name")
        if not isinstance(name, str) or not isinstance(body.get("static_segment"), list):
            raise self.breach("name and static_segment are required", "shape")
        if self.records.list_id("contacts", name) is not None:
            raise Refusal(problem(400, "Bad Request", "Sorry, that tag already exists."))
        made = self.records.make_list("contacts", name, call.now)
        return Answer(200, {"id": made, "name": name, "type": "static", "member_count": 0})

    def _change_segment(self, call: Call) -> Answer:
        segment = self._segment(call)
        body = self._object(call.body, {"members_to_add", "members_to_remove"})
        parts: dict[str, list[Any]] = {"members_added": [], "members_removed": []}
        for key, done in _MOVES:
            addresses = body.get(key, [])
            if not isinstance(addresses, list) or len(addresses) > 500:
                raise self.breach(f"{key}: at most 500 addresses", "batch size")
            for address in addresses:
                held = self._held(hash_of(address))
                if held is None or held[1]["status"] == "archived":
                    continue  # ignored, as documented
                moved = (
                    self._enter(segment, held[0], call.now, fires=True)
                    if done == "members_added"
                    else self.records.leave(segment, held[0])
                )
                if moved:
                    parts[done].append(shown(held[1]))
        totals = {
            "errors": [],
            "total_added": len(parts["members_added"]),
            "total_removed": len(parts["members_removed"]),
            "error_count": 0,
        }
        return Answer(200, parts | totals)

    def _show_segments(self, call: Call) -> Answer:
        self._known_audience(call)
        rows = self.store.rows("select id, name from lists where vendor = 'mailchimp' order by id")
        found = [{"id": row["id"], "name": row["name"], "type": "static"} for row in rows]
        return Answer(200, {"segments": call.page(found), "total_items": len(found)})

    def _show_segment(self, call: Call) -> Answer:
        wanted = {"subscribed", "pending"}
        for status in ("cleaned", "transactional", "unsubscribed"):
            if call.flag(f"include_{status}"):
                wanted.add(status)
        held = [
            self.records.by_id("contacts", m) for m in self.records.members(self._segment(call))
        ]
        found = [shown(member) for member in held if member and member["status"] in wanted]
        return Answer(200, {"members": call.page(found), "total_items": len(found)})

    # Reading

    def _show_audience(self, call: Call) -> Answer:
        self._known_audience(call)
        return Answer(200, {"id": self._audience})

    def _show_merge_fields(self, call: Call) -> Answer:
        self._known_audience(call)
        found = [
            {"merge_id": number, "tag": tag, "name": of["name"], "type": of.get("type", "text")}
            for number, (tag, of) in enumerate(self._merge.items(), 1)
        ]
        return Answer(200, {"merge_fields": call.page(found), "total_items": len(found)})

    def _show_members(self, call: Call) -> Answer:
        self._known_audience(call)
        status, since = call.first("status"), call.first("since_last_changed")
        found = [
            shown(member)
            for _, member in self.records.all("contacts")
            if (not status or member["status"] == status) and member["last_changed"] >= since[:19]
        ]
        return Answer(200, {"members": call.page(found), "total_items": len(found)})

    def _show(self, call: Call) -> Answer:
        return Answer(200, shown(self._member(call)[1]))

    def _abuse(self, call: Call) -> Answer:
        found = [of | {"id": number} for number, of in self.records.all("abuse_reports")]
        return Answer(200, {"abuse_reports": call.page(found), "total_items": len(found)})

    def _reports(self, call: Call) -> Answer:
        since = call.first("since_send_time")
        found = [m for _, m in self.records.all("campaigns") if m["send_time"] >= since[:19]]
        return Answer(200, {"reports": call.page(found), "total_items": len(found)})

    def _activity(self, call: Call) -> Answer:
        found = [
            of for _, of in self.records.all("activity") if of["campaign_id"] == call.path["mail"]
        ]
        return Answer(200, {"emails": call.page(found), "total_items": len(found)})

    def counts(self) -> dict[str, Any]:
        """Members (archived ones not), segments, events, and what must never happen."""
        members = [member for _, member in self.records.all("contacts")]
        return {
            "members": sum(member["status"] != "archived" for member in members),
            "unsubscribed": sum(member["status"] == "unsubscribed" for member in members),
            "resubscribed": sum(bool(member.get("resubscribed")) for member in members),
            "segments": self.records.list_sizes(),
            "events": self.records.event_counts(),
            **super().counts(),
        }

    def _known_audience(self, call: Call) -> None:
        if call.path["list"] != self._audience:
            raise Refusal(problem(404, "Resource Not Found", "There is no such audience."))

    def _segment(self, call: Call) -> int:
        self._known_audience(call)
        text = call.path["segment"]
        if not text.isdigit() or self.records.list_name(int(text)) is None:
            raise Refusal(problem(404, "Resource Not Found", "There is no such segment."))
        return int(text)

    def _held(self, hash_: str) -> tuple[int, dict[str, Any]] | None:
        return self.records.find("contacts", "hash", hash_)

    def _member(self, call: Call) -> tuple[int, dict[str, Any]]:
        self._known_audience(call)
        held = self._held(call.path["hash"])
        if held is None:
            raise Refusal(problem(404, "Resource Not Found", "There is no such member."))
        return held

    def _object(self, body: Any, known: Collection[str]) -> dict[str, Any]:
        if not isinstance(body, dict) or not set(body) <= set(known):
            raise self.breach("The resource has other fields than documented.", "shape")
        return body


VENDOR = Mailchimp
