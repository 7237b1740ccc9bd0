"""Klaviyo's bulk imports: jobs, whose rows are there when they are complete."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from reverse_etl.sandbox.klaviyo_contract import (
    ATTRIBUTES,
    NAME,
    fault_of_profile,
    invalid,
    item_of,
    page,
    refusal,
    resource,
    resources,
)
from reverse_etl.sandbox.people import People
from reverse_etl.sandbox.store import Store, instant
from reverse_etl.sandbox.tool import Answer, Call

_BULK_BYTES, _PROFILE_BYTES, _PROFILES = 5_000_000, 100_000, 10_000


class Imports:
    """Jobs under way and done. `portal` says how long one takes and whether errors name a place."""

    def __init__(
        self, store: Store, people: People, portal: Mapping[str, Any], clock: Callable[[], float]
    ) -> None:
        self._store, self._people, self._clock = store, people, clock
        self._job_seconds = float(portal.get("job_seconds", 0))
        self._has_pointers = bool(portal.get("import_error_pointers", True))
        self._pending: list[str] = []

    def create(self, call: Call) -> Answer:
        attributes = resource(call.body, "profile-bulk-import-job", {"profiles"})
        profiles = resources(attributes["profiles"], "profile", {"id", "meta"})
        if call.size > _BULK_BYTES or not 1 <= len(profiles) <= _PROFILES:
            raise invalid("1 to 10,000 profiles and 5 MB are accepted", "batch size")
        for profile in profiles:
            unknown = set(profile["attributes"]) - ATTRIBUTES
            if unknown:
                words = f"'{min(unknown)}' is not a valid field for the resource 'profile'."
                raise invalid(words, "shape")
        number = self._store.number("select count(*) from definitions where kind = 'job'") + 1
        job = {
            "id": f"01JOB{number:021d}",
            "status": "queued",
            "created_at": call.now,
            "total_count": len(profiles),
            "completed_count": 0,
            "failed_count": 0,
            "due": self._clock() + self._job_seconds,
            "profiles": profiles,
            "errors": [],
        }
        self._keep(job)
        self._pending.append(str(job["id"]))
        return Answer(202, {"data": self._shown_job(job)})

    def _keep(self, job: Mapping[str, Any]) -> None:
        row = (NAME, "job", job["id"], orjson.dumps(dict(job)).decode())
        with self._store.transaction() as db:
            db.execute("insert or replace into definitions values (?, ?, ?, ?)", row)

    def _job(self, number: str) -> dict[str, Any]:
        sql = "select body from definitions where vendor = ? and kind = 'job' and name = ?"
        rows = self._store.rows(sql, (NAME, number))
        if not rows:
            raise refusal(404, "not_found", "A job with that id does not exist.")
        job: dict[str, Any] = orjson.loads(rows[0][0])
        return job

    def work_off(self, now: float) -> None:
        """Complete the jobs that are due; last row first, as no order is promised."""
        for number in list(self._pending):
            job = self._job(number)
            if job["due"] > now:
                continue
            at = instant(now)
            for position, profile in reversed(list(enumerate(job["profiles"]))):
                field, words = fault_of_profile(profile)
                if not words and len(orjson.dumps(profile)) > _PROFILE_BYTES:
                    words = "The profile is larger than 100 KB."
                if not words:
                    words, field = self.apply(profile, at), "external_id"
                if words:
                    pointer = f"/data/attributes/profiles/data/{position}/attributes/{field}"
                    source = {"pointer": pointer if self._has_pointers else None}
                    job["errors"].append(
                        {"detail": words, "source": source, "original_payload": profile}
                    )
            job |= {
                "status": "complete",
                "failed_count": len(job["errors"]),
                "completed_count": job["total_count"] - len(job["errors"]),
                "completed_at": at,
                "profiles": [],
            }
            self._keep(job)
            self._pending.remove(number)

    def apply(self, profile: Mapping[str, Any], now: str) -> str:
        """Create or update one profile; words where its identifiers belong to two."""
        given = dict(profile["attributes"])
        if given.get("email"):
            given["email"] = given["email"].lower()
        found = set()
        for name in ("external_id", "email"):
            if given.get(name):
                found |= set(self._people.found(name, [given[name]]).values())
        if len(found) > 1:
            return "A different profile already has one of these identifiers."
        record = found.pop() if found else None
        known = self._people.attributes(record) if record else {"properties": {}}
        own, wanted = known.get("external_id"), given.get("external_id")
        if own and wanted and own != wanted:
            return "A profile with this email has another external_id."
        properties = known["properties"] | dict(given.pop("properties", None) or {})
        gone = profile.get("meta", {}).get("patch_properties", {}).get("unset", [])
        for name in [gone] if isinstance(gone, str) else gone:
            properties.pop(name, None)
        merged = {n: v for n, v in (known | given).items() if v is not None}
        identifiers = {n: str(merged[n]) for n in ("external_id", "email") if n in merged}
        with self._store.transaction() as db:
            self._people.put(db, record, merged | {"properties": properties}, identifiers, now)
        return ""

    def show(self, call: Call) -> Answer:
        job = self._job(call.path["id"])
        if job["status"] == "queued":
            job["status"] = "processing"
        return Answer(200, {"data": self._shown_job(job)})

    def _shown_job(self, job: Mapping[str, Any]) -> dict[str, Any]:
        names = ("status", "created_at", "total_count", "completed_count", "failed_count")
        attributes = {name: job[name] for name in names} | {"completed_at": job.get("completed_at")}
        return item_of("profile-bulk-import-job", job["id"], attributes)

    def show_errors(self, call: Call) -> Answer:
        errors = [
            item_of(
                "import-error",
                f"{call.path['id']}-{number}",
                {"code": "invalid", "title": "Invalid input", **error},
                links=False,
            )
            for number, error in enumerate(self._job(call.path["id"])["errors"])
        ]
        return Answer(200, page(call, errors, default=20, most=100))

    def forget(self) -> None:
        """The store has been emptied."""
        self._pending = []
