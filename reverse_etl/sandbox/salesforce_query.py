"""The part of SOQL the sandbox's Salesforce understands: fields of one object, conditions joined by
AND and OR, a limit."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(r"\s*('(?:[^'\\]|\\.)*'|!=|>=|<=|[=<>(),]|[\w.:+-]+)")
_QUERY = re.compile(
    r"SELECT (?P<fields>[\w, ]+?) FROM (?P<object>\w+)(?: WHERE (?P<where>.+?))?"
    r"(?: LIMIT (?P<limit>\d+))?",
    re.DOTALL,
)
Row = Mapping[str, Any]
Condition = Callable[[Row], bool]


class MalformedQueryError(ValueError):
    """Salesforce calls it MALFORMED_QUERY."""


@dataclass(frozen=True)
class Query:
    """A parsed query; `names` are all fields it speaks of."""

    object: str
    fields: list[str]
    names: set[str]
    condition: Condition
    limit: int | None


def parsed(text: str) -> Query:
    """A query as text. Raises MalformedQueryError."""
    match = _QUERY.fullmatch(text.strip())
    if match is None:
        raise MalformedQueryError("unexpected token")
    fields = [name.strip() for name in match["fields"].split(",")]
    conditions = _Conditions(match["where"] or "")
    condition = conditions.whole() if match["where"] else lambda row: True
    names = {*fields, *conditions.names}
    limit = int(match["limit"]) if match["limit"] else None
    return Query(match["object"], fields, names, condition, limit)


class _Conditions:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self.names: set[str] = set()

    def whole(self) -> Condition:
        condition = self._any()
        if self._tokens:
            raise MalformedQueryError(f"unexpected token: {self._tokens[0]}")
        return condition

    def _any(self) -> Condition:
        parts = [self._all()]
        while self._next_is("OR"):
            parts.append(self._all())
        return lambda row: any(part(row) for part in parts)

    def _all(self) -> Condition:
        parts = [self._one()]
        while self._next_is("AND"):
            parts.append(self._one())
        return lambda row: all(part(row) for part in parts)

    def _one(self) -> Condition:
        if self._next_is("("):
            inner = self._any()
            self._expect(")")
            return inner
        name, operator = self._take(), self._take().upper()
        self.names.add(name)
        if operator == "IN":
            self._expect("(")
            values = [_value(self._take())]
            while self._next_is(","):
                values.append(_value(self._take()))
            self._expect(")")
            wanted = {_folded(value) for value in values}
            return lambda row: _folded(row.get(name)) in wanted
        value = _folded(_value(self._take()))
        tests: dict[str, Condition] = {
            "=": lambda row: _folded(row.get(name)) == value,
            "!=": lambda row: _folded(row.get(name)) != value,
            ">=": lambda row: row.get(name) is not None and str(_folded(row[name])) >= str(value),
        }
        if operator not in tests:
            raise MalformedQueryError(f"unexpected token: {operator}")
        return tests[operator]

    def _take(self) -> str:
        if not self._tokens:
            raise MalformedQueryError("unexpected end of query")
        return self._tokens.pop(0)

    def _next_is(self, word: str) -> bool:
        if self._tokens and self._tokens[0].upper() == word:
            self._tokens.pop(0)
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._next_is(word):
            raise MalformedQueryError(f"expecting {word}")


def _tokens(text: str) -> Iterator[str]:
    position = 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            raise MalformedQueryError(f"unexpected character at {position}")
        yield match[1]
        position = match.end()


def _value(token: str) -> Any:
    """A text in quotes, true, false, null, a number or an instant (as text)."""
    if token.startswith("'"):
        return re.sub(r"\\(.)", r"\1", token[1:-1])
    if token.lower() in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[token.lower()]
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}T[\d:.]+(Z|[+-]\d{2}:\d{2})", token):
        return token
    if token.isdigit():
        return int(token)
    raise MalformedQueryError(f"a text needs quotes: {token}")


def _folded(value: Any) -> Any:
    """SOQL compares texts without case, and keeps no empty ones: those are null."""
    return value.lower() or None if isinstance(value, str) else value
