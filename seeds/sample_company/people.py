"""Companies and the people in them: names, places, roles, consent. Mail domains are reserved
example domains.
"""

from dataclasses import dataclass

import numpy as np

from seeds.sample_company import names
from seeds.sample_company.calendar import Zone
from seeds.sample_company.rows import base36, pick


@dataclass(frozen=True)
class Country:
    """Where a company sits: currency, language, tax and zones that go with it."""

    code: str
    name: str
    currency: str
    locale: str
    language: str
    tax: float
    region: str
    zones: tuple[Zone, ...]


_TOKYO = Zone("Asia/Tokyo", "asia_slash_tokyo", "Osaka", 9)
_LONDON = Zone("Europe/London", "europe_slash_london", "London", 0, "eu")
_BERLIN = Zone("Europe/Berlin", "europe_slash_berlin", "Berlin", 1, "eu")
_PARIS = Zone("Europe/Paris", "europe_slash_paris", "Paris", 1, "eu")
_NEW_YORK = Zone("America/New_York", "us_slash_eastern", "Eastern Time (US & Canada)", -5, "us")
_CHICAGO = Zone("America/Chicago", "us_slash_central", "Central Time (US & Canada)", -6, "us")
_DENVER = Zone("America/Denver", "us_slash_mountain", "Mountain Time (US & Canada)", -7, "us")
_LOS_ANGELES = Zone(
    "America/Los_Angeles", "us_slash_pacific", "Pacific Time (US & Canada)", -8, "us"
)
_TORONTO = Zone("America/Toronto", "america_slash_toronto", "Eastern Time (US & Canada)", -5, "us")
_SYDNEY = Zone("Australia/Sydney", "australia_slash_sydney", "Sydney", 10, "au")
_SINGAPORE = Zone("Asia/Singapore", "asia_slash_singapore", "Singapore", 8)

COUNTRIES = {
    country.code: country
    for country in (
        Country("JP", "Japan", "jpy", "ja-JP", "ja", 0.10, "JP", (_TOKYO,)),
        Country(
            "US",
            "United States",
            "usd",
            "en-US",
            "en",
            0.0,
            "US",
            (_NEW_YORK, _CHICAGO, _DENVER, _LOS_ANGELES),
        ),
        Country("GB", "United Kingdom", "gbp", "en-GB", "en-gb", 0.20, "EU", (_LONDON,)),
        Country("DE", "Germany", "eur", "de-DE", "de", 0.19, "EU", (_BERLIN,)),
        Country("FR", "France", "eur", "fr-FR", "fr", 0.20, "EU", (_PARIS,)),
        Country("CA", "Canada", "usd", "en-CA", "en", 0.05, "US", (_TORONTO,)),
        Country("AU", "Australia", "usd", "en-AU", "en", 0.10, "EU", (_SYDNEY,)),
        Country("SG", "Singapore", "usd", "en-SG", "en", 0.09, "EU", (_SINGAPORE,)),
    )
}
_COUNTRY_SHARES = {"JP": 35, "US": 32, "GB": 12, "DE": 9, "CA": 4, "AU": 3, "FR": 3, "SG": 2}


def country_deck(rng: np.random.Generator) -> list[str]:
    """A hundred countries in their shares, shuffled."""
    deck = [code for code, share in _COUNTRY_SHARES.items() for _ in range(share)]
    return [deck[place] for place in rng.permutation(len(deck))]


@dataclass(frozen=True)
class Company:
    """A customer, as its own people would describe it."""

    index: int
    name: str
    domain: str
    country: Country
    zone: Zone
    industry: str
    employees: int

    @property
    def key(self) -> str:
        """The customer's number in every id."""
        return base36(self.index, 3)

    @property
    def stripe_id(self) -> str:
        """Stripe customer."""
        return f"cus_{self.key}"

    @property
    def workspace_id(self) -> str:
        """Workspace in the product."""
        return f"ws_{self.key}"

    @property
    def hubspot_id(self) -> int:
        """HubSpot company."""
        return 9_000_000_000 + self.index

    @property
    def zendesk_id(self) -> int:
        """Zendesk organisation."""
        return 360_000_000 + self.index


@dataclass
class Person:
    """A contact; what it is known as in each tool, and what it agreed to."""

    number: int
    company: Company
    first_name: str
    last_name: str
    email: str
    job_title: str
    buying_role: str | None
    product_role: str | None
    joined_at: int
    language: str
    locale: str
    legal_basis: str | None
    opted_out: bool | None
    in_crm: bool = True
    is_deleted: bool = False
    hard_bounces: bool = False
    opens_by_machine: bool = False
    in_community: bool = False
    left_at: int | None = None

    @property
    def key(self) -> str:
        """The person's number in every id."""
        return self.company.key + base36(self.number, 2)

    @property
    def name(self) -> str:
        """Full name in the order of the language."""
        if self.company.country.code == "JP":
            return f"{self.last_name} {self.first_name}"
        return f"{self.first_name} {self.last_name}"

    @property
    def user_id(self) -> str | None:
        """Product user; people without a login have none."""
        return f"u{self.key}" if self.product_role else None

    @property
    def hubspot_id(self) -> int:
        """HubSpot contact."""
        return 100_000_000 + self.company.index * 1_000 + self.number

    @property
    def zendesk_id(self) -> int:
        """Zendesk user."""
        return 380_000_000_000 + self.company.index * 1_000 + self.number

    @property
    def community_id(self) -> str:
        """Community member."""
        return f"cm{self.key}"

    def may_be_mailed(self) -> bool:
        """Whether marketing may mail this person, by what the CRM knows."""
        return (
            self.in_crm
            and self.legal_basis is not None
            and not self.opted_out
            and not self.is_deleted
        )


def make_company(rng: np.random.Generator, index: int, country_code: str) -> Company:
    """A company with a name and domain that no other index has."""
    country = COUNTRIES[country_code]
    # multiplying by a number without common factors walks over all combinations before it repeats
    # one
    if country_code == "JP":
        places, trades = names.JAPANESE_PLACES, names.JAPANESE_TRADES
        round_, combination = divmod(index, len(places) * len(trades))
        combination = combination * 211 % (len(places) * len(trades))
        place, slug_place = places[combination % len(places)]
        trade, slug_trade, industry = trades[combination // len(places)]
        name = f"株式会社{place}{trade}" if combination % 3 else f"{place}{trade}株式会社"
        slug = f"{slug_place}-{slug_trade}"
        suffix = ".example.jp" if combination % 4 else ".example"
    else:
        english, english_trades = names.ENGLISH_PLACES, names.ENGLISH_TRADES
        round_, combination = divmod(index, len(english) * len(english_trades))
        combination = combination * 211 % (len(english) * len(english_trades))
        word = english[combination % len(english)]
        noun, industry = english_trades[combination // len(english)]
        legal = {"US": "Inc.", "GB": "Ltd", "DE": "GmbH", "FR": "SAS"}.get(country_code, "Pty Ltd")
        name = f"{word} {noun} {legal}"
        slug = f"{word}-{noun}".lower()
        suffix = ".example.com" if combination % 5 == 0 else ".example"
    if round_:
        name, slug = f"{name} {round_ + 1}", f"{slug}-{round_ + 1}"
    zone = pick(rng, country.zones)
    employees = int(np.clip(rng.lognormal(4.0, 1.1), 4, 9_000))
    return Company(index, name, slug + suffix, country, zone, industry, employees)


_TITLES = {
    "member": (
        ["プロジェクトリーダー", "業務担当", "企画担当", "開発エンジニア", "営業担当"],
        ["Project Lead", "Operations Specialist", "Planner", "Engineer", "Account Executive"],
    ),
    "admin": (
        ["情報システム部 主任", "業務改革推進 担当"],
        ["IT Administrator", "Operations Manager"],
    ),
    "decision": (
        ["執行役員", "情報システム部長", "代表取締役", "経営企画部長"],
        ["VP Operations", "Chief Operating Officer", "Head of IT", "Finance Director"],
    ),
}


def make_person(
    rng: np.random.Generator,
    company: Company,
    number: int,
    kind: str,
    product_role: str | None,
    joined_at: int,
    taken: set[str],
) -> Person:
    """A person of a kind (admin, champion, member, decision); `taken` are the mail names already
    used.
    """
    japanese = company.country.code == "JP"
    if japanese:
        last_name, last_slug = pick(rng, names.JAPANESE_FAMILY)
        first_name, first_slug = pick(rng, names.JAPANESE_GIVEN)
    else:
        last_name, first_name = pick(rng, names.ENGLISH_FAMILY), pick(rng, names.ENGLISH_GIVEN)
        last_slug, first_slug = last_name.lower(), first_name.lower()
    local = f"{first_slug}.{last_slug}"
    while local in taken:
        local = f"{first_slug}.{last_slug}{len(taken)}"
    taken.add(local)
    titles = _TITLES["member" if kind == "champion" else kind][0 if japanese else 1]
    role = {"admin": "ADMIN", "decision": "DECISION_MAKER", "champion": "CHAMPION"}.get(
        kind, "END_USER"
    )
    speaks_english = rng.random() < 0.05
    basis = rng.random()
    legal_basis = (
        "Freely given consent from contact"
        if basis < 0.5
        else "Legitimate interest – existing customer"
        if basis < 0.8
        else "Performance of a contract"
        if basis < 0.85
        else None
    )
    opted = rng.random()
    return Person(
        number=number,
        company=company,
        first_name=first_name,
        last_name=last_name,
        email=f"{local}@{company.domain}",
        job_title=pick(rng, titles),
        # members' roles are filled in by sales, and only for two in three
        buying_role=role if kind != "member" or rng.random() < 0.65 else None,
        product_role=product_role,
        joined_at=joined_at,
        language="en" if speaks_english else company.country.language,
        locale="en-US" if speaks_english else company.country.locale,
        legal_basis=legal_basis,
        opted_out=True if opted < 0.05 else None if opted < 0.3 else False,
        in_crm=kind != "member" or rng.random() < 0.96,
        is_deleted=kind == "member" and rng.random() < 0.012,
        hard_bounces=kind == "member" and rng.random() < 0.02,
        opens_by_machine=rng.random() < 0.1,
        in_community=product_role is not None
        and rng.random() < (0.4 if kind in ("champion", "admin") else 0.1),
    )
