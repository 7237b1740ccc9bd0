"""The rule files, ``seeds/rules/*.csv``: whether every cell says something the models can use.

What may stand in a column is said once, in the yml beside the files: dbt's column types, and under
``config.meta`` of a column ``values``, ``found_in`` (``file.column``), ``pattern``, ``at_least``
and ``at_most``, of a file ``required`` and ``unique`` (a column, or a list of columns together).
dbt's own tests would tell a mistake late and without its place: here each is told with file, row
(as spreadsheets count, the header is row 1) and column, before anything is built.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from reverse_etl.errors import UserError
from reverse_etl.mail import TEMPLATES
from reverse_etl.yaml_files import read_yaml

FOLDER = "seeds/rules"
_TRIGGERS = "dbt_project/models/triggers"
_MOST_TOLD = 20
_THRESHOLD = re.compile(r"(?<![\w.])threshold\('(\w+)'\)")


class _Meta(BaseModel):
    model_config = ConfigDict(extra="ignore")
    values: list[Any] | None = None
    found_in: str | None = None
    pattern: str | None = None
    at_least: Decimal | None = None
    at_most: Decimal | None = None
    required: list[str] = []
    unique: list[str | list[str]] = []


class _Config(BaseModel):
    model_config = ConfigDict(extra="ignore")
    meta: _Meta = _Meta()
    column_types: dict[str, str] = {}


class _Column(BaseModel):
    model_config = ConfigDict(extra="ignore")
    name: str
    config: _Config = _Config()


class _Seed(BaseModel):
    model_config = ConfigDict(extra="ignore")
    name: str
    config: _Config = _Config()
    columns: list[_Column] = []


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")
    seeds: list[_Seed] = []


@dataclass(frozen=True)
class RuleFile:
    """One CSV: ``rows`` by their number, each a cell for each column. Empty cells are ``""``."""

    name: str
    columns: tuple[str, ...]
    rows: Mapping[int, Mapping[str, str]]

    @property
    def path(self) -> str:
        """As a reader knows it."""
        return f"{FOLDER}/{self.name}.csv"

    def at(self, row: int, column: str) -> str:
        """The place of a cell, in words; the row also by what it begins with."""
        key = self.rows[row][self.columns[0]]
        return f"{self.path}, row {row}{f' ({key})' if key else ''}, column {column}"


@dataclass
class Rules:
    """Every declared rule file of a project, and what is wrong with them."""

    root: Path
    files: dict[str, RuleFile] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, root: Path) -> Rules:
        """Read and check all of them. Raises UserError when a yml beside them cannot be read."""
        rules = cls(root)
        seeds = _declared(root)
        for seed in seeds:
            rules._read(seed)
        for seed in seeds:
            if seed.name in rules.files:
                rules._check(seed, rules.files[seed.name])
        rules.mistakes += [*rules._playbook_mistakes(), *rules._threshold_mistakes()]
        return rules

    def values(self, file: str, column: str) -> set[str]:
        """What stands in a column; nothing where there is no such file."""
        found = self.files.get(file)
        return {row.get(column, "") for row in found.rows.values()} - {""} if found else set()

    def _read(self, seed: _Seed) -> None:
        file = self.root / FOLDER / f"{seed.name}.csv"
        shown = f"{FOLDER}/{seed.name}.csv"
        try:
            with file.open(encoding="utf-8-sig", newline="") as opened:
                header, *lines = list(csv.reader(opened, strict=True)) or [[]]
        except FileNotFoundError:
            self.mistakes.append(f"{shown} is missing.")
            return
        except (csv.Error, UnicodeDecodeError) as error:
            self.mistakes.append(f"{shown} is not a CSV file in UTF-8 ({error}).")
            return
        wanted = [column.name for column in seed.columns]
        told = [f"{shown} has no column {name}." for name in wanted if name not in header]
        told += [
            f"{shown} has the column {name!r}, which nobody reads: known are {', '.join(wanted)}."
            for name in header
            if name not in wanted
        ]
        told += [f"{shown} has the column {n} twice." for n in set(header) if header.count(n) > 1]
        rows = {}
        for number, cells in enumerate(lines, start=2):
            if len(cells) == len(header):
                rows[number] = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            elif cells:
                told.append(
                    f"{shown}, row {number} has {len(cells)} cells, not {len(header)}: put text "
                    "with a comma in double quotes."
                )
        self.mistakes += told
        if not told:
            self.files[seed.name] = RuleFile(seed.name, tuple(header), rows)

    def _check(self, seed: _Seed, file: RuleFile) -> None:
        for column in seed.columns:
            kind = seed.config.column_types.get(column.name, "varchar")
            checks = [*_typed(kind), *self._allowed(column)]
            for number, row in file.rows.items():
                if text := row[column.name]:
                    for wrong in (check(text) for check in checks):
                        if wrong:
                            place = file.at(number, column.name)
                            self.mistakes.append(f"{place}: {text!r} {wrong}.")
                            break
                elif column.name in seed.config.meta.required:
                    self.mistakes.append(f"{file.at(number, column.name)} is empty.")
        for names in seed.config.meta.unique:
            self.mistakes += _repeated(file, [names] if isinstance(names, str) else names)

    def _allowed(self, column: _Column) -> Iterator[Callable[[str], str | None]]:
        meta = column.config.meta
        if meta.values is not None:
            yield _one_of([str(value) for value in meta.values])
        other, _, name = (meta.found_in or "").partition(".")
        if other in self.files:
            yield _found(self.values(other, name), f"{FOLDER}/{other}.csv, column {name}")
        if meta.pattern:
            yield _like(meta.pattern)
        if meta.at_least is not None or meta.at_most is not None:
            yield _between(meta.at_least, meta.at_most)

    def _playbook_mistakes(self) -> Iterator[str]:
        """What one cell of a playbook says against another, or against the triggers there are."""
        if (playbooks := self.files.get("playbooks")) is None:
            return
        triggers = {f.stem.removeprefix("trg_") for f in (self.root / _TRIGGERS).glob("trg_*.sql")}
        for number, row in playbooks.rows.items():
            for column, wrong in _contradictions(row):
                yield f"{playbooks.at(number, column)}: {wrong}."
            if row["trigger_name"] not in triggers:
                name = row["trigger_name"]
                yield (
                    f"{playbooks.at(number, 'trigger_name')}: there is no trigger {name!r}: "
                    f"{_TRIGGERS}/trg_{name}.sql does not exist."
                )
        for name in sorted(triggers - self.values("playbooks", "trigger_name")):
            yield f"{playbooks.path} has no row for {_TRIGGERS}/trg_{name}.sql."

    def _threshold_mistakes(self) -> Iterator[str]:
        """A rule without a row would be null in every comparison: nothing would ever fire."""
        if (thresholds := self.files.get("thresholds")) is None:
            return
        known = self.values("thresholds", "rule")
        for file in sorted((self.root / "dbt_project").glob("m*/**/*.sql")):
            for rule in dict.fromkeys(_THRESHOLD.findall(file.read_text(encoding="utf-8"))):
                if rule not in known:
                    shown = file.relative_to(self.root)
                    yield f"{thresholds.path} has no row for {rule!r}, which {shown} asks for."
        for number, row in thresholds.rows.items():
            if row["rule"].endswith("_share") and not _is_share(row["value"]):
                yield f"{thresholds.at(number, 'value')}: a share is from 0 to 1."


def require_valid(root: Path) -> None:
    """Raise UserError with every mistake in the project's rule files, at most twenty of them."""
    mistakes = Rules.of(root).mistakes
    if len(mistakes) > _MOST_TOLD:
        mistakes = [*mistakes[:_MOST_TOLD], f"And {len(mistakes) - _MOST_TOLD} more."]
    if mistakes:
        raise UserError("\n".join(mistakes))


def _declared(root: Path) -> list[_Seed]:
    seeds: list[_Seed] = []
    for file in sorted((root / FOLDER).glob("_*.yml")):
        try:
            seeds += _File.model_validate(read_yaml(file.read_text(encoding="utf-8"))).seeds
        except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
            words = str(error).replace("\n", " ")
            raise UserError(f"{FOLDER}/{file.name} cannot be read: {words}") from None
    return seeds


def _contradictions(row: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    is_mail = row["channel"] == "email"
    if (row["audience"] == "owner") != (row["channel"] == "owner_alert"):
        yield "channel", "owner_alert is the channel to owners, and to nobody else"
    if row["audience"] == "owner":
        if row["legal_basis"] != "service":
            yield "legal_basis", "our own people are alerted as part of the service: service"
        if row["cap_class"] != "exempt":
            yield "cap_class", "an alert to our own people is exempt"
        return
    for column in ("consent_channel", "consent_purpose"):
        if not row[column]:
            yield column, "is empty: nobody could tell whether the contact may be written to"
    if row["legal_basis"] == "service":
        if row["experiment"]:
            yield "experiment", "a service message is withheld from nobody: leave it empty"
    elif row["cap_class"] != "commercial":
        yield "cap_class", "what is no service counts against the commercial caps: commercial"
    if is_mail and not row["template"]:
        yield "template", "is empty: a mail needs one"
    for language in ("en", "ja") if is_mail and row["template"] else ():
        file = f"{row['template']}.{language}.j2"
        if Path(file).name != file or not (TEMPLATES / file).is_file():
            yield "template", f"reverse_etl/templates/{file} does not exist"


def _repeated(file: RuleFile, columns: Sequence[str]) -> Iterator[str]:
    seen: dict[tuple[str, ...], int] = {}
    for number, row in file.rows.items():
        key = tuple(row[column] for column in columns)
        if any(key) and key in seen:
            shown = ", ".join(map(repr, key))
            yield f"{file.at(number, columns[0])}: {shown} already stands in row {seen[key]}."
        seen.setdefault(key, number)


def _typed(kind: str) -> Iterator[Callable[[str], str | None]]:
    kind = kind.lower().strip()
    if kind in ("integer", "bigint"):
        yield _readable(int, "is not a whole number")
    elif kind == "boolean":
        yield _one_of(["true", "false"])
    elif kind == "date":
        yield _readable(date.fromisoformat, "is not a date (YYYY-MM-DD)")
    elif kind.startswith(("decimal", "numeric", "double", "float", "real")):
        yield _readable(_number, "is not a number")
        if digits := re.fullmatch(r"\w+\((\d+), *(\d+)\)", kind):
            yield _fitting(int(digits[1]), int(digits[2]))


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError from None
    if not number.is_finite():
        raise ValueError
    return number


def _readable(read: Callable[[str], Any], words: str) -> Callable[[str], str | None]:
    def check(text: str) -> str | None:
        try:
            read(text)
        except ValueError:
            return words
        # Python reads 1_000 as a number, and warehouses do not
        return words if "_" in text else None

    return check


def _fitting(precision: int, scale: int) -> Callable[[str], str | None]:
    def check(text: str) -> str | None:
        _, digits, exponent = _number(text).normalize().as_tuple()
        decimals = max(0, -int(exponent))
        if decimals > scale:
            return f"has more than {scale} decimals"
        if len(digits) + int(exponent) > precision - scale:
            return f"has more than {precision - scale} digits before the point"
        return None

    return check


def _one_of(values: Sequence[str]) -> Callable[[str], str | None]:
    return lambda text: None if text in values else f"is not one of {', '.join(values)}"


def _found(values: set[str], place: str) -> Callable[[str], str | None]:
    return lambda text: None if text in values else f"does not stand in {place}"


def _like(pattern: str) -> Callable[[str], str | None]:
    return lambda text: None if re.fullmatch(pattern, text) else f"does not look like {pattern}"


def _between(low: Decimal | None, high: Decimal | None) -> Callable[[str], str | None]:
    def check(text: str) -> str | None:
        number = _number(text)
        if low is not None and number < low:
            return f"is below {low}"
        return f"is above {high}" if high is not None and number > high else None

    return check


def _is_share(text: str) -> bool:
    try:
        return 0 <= _number(text) <= 1
    except ValueError:
        return True  # told already
