"""The one-click opt-out link of a mail, signed so that nobody can opt out others.

Contract: RFC 8058. The token is ``<base64url of contact_id>.<base64url of HMAC-SHA256>``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from urllib.parse import urlencode


def token(contact_id: str, key: str) -> str:
    """A contact's token under a secret key."""
    name = contact_id.encode()
    return f"{_encoded(name)}.{_encoded(_signature(name, key))}"


def link(url: str, contact_id: str, key: str) -> str:
    """The address a mail program calls, by POST, when the reader opts out."""
    joint = "&" if "?" in url else "?"
    return url + joint + urlencode({"t": token(contact_id, key)})


def contact_of(text: str, key: str) -> str | None:
    """The contact_id of a token, or None when it is not one of ours. With an empty key anybody
    could make one, so there are none."""
    if not key:
        return None
    name, _, signature = text.partition(".")
    try:
        contact, given = _decoded(name), _decoded(signature)
        if hmac.compare_digest(given, _signature(contact, key)):
            return contact.decode()
    except (binascii.Error, ValueError):
        pass
    return None


def _signature(name: bytes, key: str) -> bytes:
    return hmac.new(key.encode(), b"unsubscribe:" + name, hashlib.sha256).digest()


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
