"""What Mailchimp's members, errors and merge fields look like.

Contract: the Marketing API 3.0; see mailchimp.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from reverse_etl.sandbox.tool import Answer

STATUSES = frozenset({"subscribed", "unsubscribed", "cleaned", "pending", "transactional"})
ADDRESS = re.compile(r"[^\s@\"]+@[^\s@]+\.[^\s@]+")
MEMBER_FIELDS = frozenset(
    {
        "email_address",
        "email_type",
        "status",
        "status_if_new",
        "merge_fields",
        "interests",
        "language",
        "vip",
        "location",
        "marketing_permissions",
        "ip_signup",
        "timestamp_signup",
        "ip_opt",
        "timestamp_opt",
        "tags",
    }
)


def problem(status: int, title: str, detail: str) -> Answer:
    """An error as RFC 7807 shapes it."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return Answer(status, body | {"instance": "sandbox"})


def error(address: str, words: str, code: str = "ERROR_GENERIC") -> dict[str, str]:
    """A member refused, in the answer to a batch."""
    return {"email_address": address, "error": words, "error_code": code, "field": ""}


def unfit(kind: str, value: Any) -> str | None:
    """Why a merge field does not take a value; an empty one is always taken."""
    if value == "":
        return None
    if kind == "number":
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        text = isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value)
        return None if is_number or text else "This value should be a number."
    if kind == "date":
        is_day = isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value[:10])
        return None if is_day else "This value should be a date."
    return "At most 255 characters." if isinstance(value, str) and len(value) > 255 else None


def hash_of(address: str) -> str:
    """How a member is found."""
    return hashlib.md5(address.lower().encode(), usedforsecurity=False).hexdigest()


def shown(member: Mapping[str, Any]) -> dict[str, Any]:
    """A member as answers show it."""
    names = ("id", "email_address", "status", "merge_fields", "language", "last_changed")
    return {name: member.get(name) for name in names}
