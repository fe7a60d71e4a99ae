"""Texts of signs, screens and receipts: words, compounds, numbers, dates, addresses, codes, punctuation."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

import numpy as np

Rng = np.random.Generator
T = TypeVar("T")


class WordSource(Protocol):
    """Where the words in a text come from."""

    def word(self, rng: Rng) -> str:
        """A word, the frequent ones more often."""
        ...

    def long_word(self, rng: Rng) -> str:
        """The same among long words."""
        ...


Maker = Callable[[WordSource, Rng], str]
#: Shares of makers; they add up to 1.
Texts = Mapping[Maker, float]

_LETTERS = list(string.ascii_lowercase)
_DIGITS = list(string.digits)
_CURRENCIES = ("$", "£", "€", "¥", "RM", "USD", "EUR", "Rs.", "S$")
_UNITS = (
    *("%", "th", "st", "nd", "rd", "am", "pm", "x", "p", "k", "pcs", "hrs", "min", "px", "°C"),
    *("km", "m", "cm", "mm", "kg", "g", "mg", "ml", "l", "oz", "lb", "ft", "in", "mph", "km/h"),
    *("GB", "MB", "TB", "MHz", "GHz", "W", "kW", "V", "mAh"),
)
_DOMAINS = (
    "com",
    "co.uk",
    "org",
    "net",
    "de",
    "com.my",
    "com.sg",
    "edu",
    "gov",
    "info",
    "tv",
    "io",
    "fr",
    "in",
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FIELDS = (
    *("Total", "Tel", "Fax", "No", "Amt", "Qty", "Bill#", "Date", "Time", "Inv", "GST", "Tax", "Price"),
    *("Cash", "Change", "Item", "Ref", "TID", "Ph", "Invoice", "Rounding", "Table"),
)
_JOINTS = (
    *(("-", 0.38), ("", 0.27), (".", 0.1), ("/", 0.07), ("&", 0.06), ("'", 0.04)),
    *(("_", 0.02), ("@", 0.02), ("+", 0.02), (":", 0.02)),
)


def word(words: WordSource, rng: Rng) -> str:
    return _cased(words.word(rng), rng)


def long_word(words: WordSource, rng: Rng) -> str:
    return _cased(words.long_word(rng), rng)


def compound(words: WordSource, rng: Rng) -> str:
    """Two or three words in one: drive-thru, Port-au-Prince, H&R, and/or, RamenPlay, Mr.Bean."""
    parts = [words.word(rng) for _ in range(3 if rng.random() < 0.1 else 2)]
    if rng.random() < 0.08:
        parts = [part[: rng.integers(1, 3)] for part in parts]
    joint = weighted(rng, _JOINTS)
    if not joint and rng.random() < 0.5:
        return "".join(part.capitalize() for part in parts)
    joined = joint.join(parts)
    return _cased(joined, rng) if rng.random() < 0.6 else joined.title()


def spliced(words: WordSource, rng: Rng) -> str:
    """Brand-like: the head of one word and the tail of another."""
    head, tail = words.word(rng), words.word(rng)
    return _cased(head[: rng.integers(2, 6)] + tail[-rng.integers(1, 6) :], rng)


def letters(words: WordSource, rng: Rng) -> str:
    return _cased("".join(rng.choice(_LETTERS, size=min(1 + rng.geometric(0.3), 12))), rng)


def initials(words: WordSource, rng: Rng) -> str:
    """P., U.S.A., E.&."""
    return "".join(f"{letter}." for letter in rng.choice(_LETTERS, size=rng.integers(1, 4))).upper()


def number(words: WordSource, rng: Rng) -> str:
    match int(rng.integers(10)):
        case 0 | 1 | 2 | 3:
            return _digits(rng, 1, 3)
        case 4 | 5:
            return str(rng.integers(1850, 2031))
        case 6 | 7:
            return _digits(rng, 3, 9)
        case 8:
            return f"{rng.integers(1, 10 ** rng.integers(4, 8)):,}"
        case _:
            return f"{rng.integers(1, 100)}.{_digits(rng, 1, 3)}"


def measure(words: WordSource, rng: Rng) -> str:
    """A number and its unit, or an ordinal."""
    value = str(rng.integers(1, 101)) if rng.random() < 0.8 else f"{rng.integers(10)}.{rng.integers(10)}"
    unit = _UNITS[rng.integers(len(_UNITS))]
    return value + (unit.upper() if rng.random() < 0.15 else unit)


def price(words: WordSource, rng: Rng) -> str:
    cents = ("00", "99", "50", "95", _digits(rng, 2, 2))[rng.integers(5)]
    amount = f"{rng.integers(10 ** rng.integers(1, 4))}{'.' if rng.random() < 0.85 else ','}{cents}"
    if rng.random() < 0.1:
        amount = f"{rng.integers(1, 1000)},{_digits(rng, 3, 3)}" + (f".{cents}" if rng.random() < 0.4 else "")
    if rng.random() < 0.45:
        currency = _CURRENCIES[min(int(rng.geometric(0.3)) - 1, len(_CURRENCIES) - 1)]
        return currency + amount if rng.random() < 0.9 else amount + currency
    return amount + ("/-" if rng.random() < 0.03 else "")


def date(words: WordSource, rng: Rng) -> str:
    day, month, year = int(rng.integers(1, 32)), int(rng.integers(1, 13)), int(rng.integers(1950, 2031))
    mark = "/-."[rng.integers(3)]
    match int(rng.integers(6)):
        case 0:
            return f"{day:02}{mark}{month:02}{mark}{year}"
        case 1:
            return f"{year}{mark}{month:02}{mark}{day:02}"
        case 2:
            return f"{day}{mark}{month}{mark}{year % 100:02}"
        case 3:
            return f"{day:02}{mark}{_MONTHS[month - 1]}{mark}{year}"
        case 4:
            return f"{year}{mark}{(year + 1) % 100:02}"
        case _:
            return f"{_MONTHS[month - 1]}{'-' if rng.random() < 0.5 else ''}{day}"


def clock(words: WordSource, rng: Rng) -> str:
    hour, minute = rng.integers(24), rng.integers(60)
    match int(rng.integers(4)):
        case 0:
            return f"{hour:02}:{minute:02}:{rng.integers(60):02}"
        case 1:
            return f"{hour % 12 + 1}:{minute:02}{('am', 'pm', 'AM', 'PM')[rng.integers(4)]}"
        case 2:
            opens, closes = (("am", "pm")[half] for half in rng.integers(2, size=2))
            return f"{hour % 12 + 1}{opens}-{rng.integers(1, 13)}{closes}"
        case _:
            return f"{hour}{':.'[rng.integers(2)]}{minute:02}"


def phone(words: WordSource, rng: Rng) -> str:
    groups = [_digits(rng, 2, 4) for _ in range(rng.integers(2, 4))] + [_digits(rng, 3, 5)]
    number = ("-", ".", "")[rng.integers(3)].join(groups)
    opening = weighted(
        rng, (("", 0.6), ("Tel:", 0.12), ("+", 0.1), ("(", 0.08), ("T:", 0.05), ("Fax:", 0.05))
    )
    return opening + number if opening != "(" else f"({groups[0]}){'-'.join(groups[1:])}"


def code(words: WordSource, rng: Rng) -> str:
    """Room, plate, model and document numbers: groups of letters and groups of digits."""
    if rng.random() < 0.15:
        return f"({_digits(rng, 5, 10)}-{rng.choice(_LETTERS).upper()})"
    groups = [
        "".join(rng.choice(_LETTERS, size=rng.integers(1, 4))) if alphabetic else _digits(rng, 1, 8)
        for alphabetic in rng.random(rng.integers(2, 4)) < 0.5
    ]
    joined = weighted(rng, (("", 0.65), ("-", 0.25), ("/", 0.06), (".", 0.04))).join(groups)
    return joined.upper() if rng.random() < 0.8 else joined


def web(words: WordSource, rng: Rng) -> str:
    """Domains, mail addresses, handles, and the beginnings and paths of addresses."""
    name = words.word(rng)
    if rng.random() < 0.6:
        name += ("-" if rng.random() < 0.15 else "") + words.word(rng)
    domain = f"{name}.{_DOMAINS[min(int(rng.geometric(0.3)) - 1, len(_DOMAINS) - 1)]}"
    text = weighted(
        rng,
        (
            (f"www.{domain}", 0.36),
            (domain, 0.22),
            (f"{words.word(rng)}@{domain}", 0.16),
            (f"www.{domain}/{words.word(rng)}", 0.06),
            (f"http://{domain}", 0.04),
            (f"@{name}", 0.06),
            (f"#{name}", 0.05),
            ("." + domain.split(".", 1)[1], 0.05),
        ),
    )
    dice = rng.random()
    return text.upper() if dice < 0.12 else (_camel(text) if dice < 0.24 else text)


def field(words: WordSource, rng: Rng) -> str:
    """A form's or receipt's word with what belongs to it: Total(RM), Tel:03-6101, SR=6.00%, U.Price."""
    name = _FIELDS[rng.integers(len(_FIELDS))] if rng.random() < 0.6 else words.word(rng).capitalize()
    if rng.random() < 0.4:
        name = name.upper()
    match int(rng.integers(7)):
        case 0 | 1:
            return name + ":"
        case 2:
            return f"{name}({_CURRENCIES[rng.integers(len(_CURRENCIES))]})"
        case 3:
            return f"{name}:{code(words, rng)}"
        case 4:
            return f"{name}{'=:@'[rng.integers(3)]}{price(words, rng)}"
        case 5:
            return f"{rng.choice(_LETTERS).upper()}.{name}"
        case _:
            return f"({name})"


#: Streets, shops, products.
STREET: Texts = {
    **{word: 0.56, long_word: 0.12, compound: 0.07, web: 0.03, spliced: 0.05, letters: 0.03, initials: 0.01},
    **{number: 0.05, measure: 0.02, price: 0.02, clock: 0.01, date: 0.005, phone: 0.01, code: 0.015},
}
#: Banners, buttons and mails.
SCREEN: Texts = {
    **{word: 0.6, long_word: 0.11, compound: 0.07, web: 0.06, spliced: 0.03, initials: 0.01},
    **{number: 0.03, measure: 0.02, price: 0.03, clock: 0.01, date: 0.01, phone: 0.01, code: 0.01},
}
#: Receipts, forms and labels.
RECEIPT: Texts = {
    **{word: 0.29, long_word: 0.05, compound: 0.03, web: 0.03, number: 0.08, price: 0.21, field: 0.11},
    **{code: 0.1, phone: 0.03, date: 0.04, clock: 0.03},
}


def draw(texts: Texts, words: WordSource, rng: Rng) -> str:
    """A text of one of the makers, with punctuation beside it now and then."""
    return _punctuated(weighted(rng, texts.items())(words, rng), rng)


_ENDINGS = (
    *(
        (",", 0.24),
        (".", 0.22),
        (":", 0.11),
        ("!", 0.09),
        ("-", 0.05),
        ("?", 0.04),
        (")", 0.04),
        ("...", 0.03),
    ),
    *(
        (";", 0.03),
        ("'s", 0.03),
        ("*", 0.02),
        ('"', 0.02),
        ("'", 0.015),
        ("!!", 0.01),
        ("/", 0.01),
        ("&", 0.01),
    ),
    *(("®", 0.01), (">", 0.01), ("%", 0.005), ("+", 0.005), ("™", 0.005)),
)
_OPENINGS = (
    *(("(", 0.16), ('"', 0.14), ("'", 0.12), (".", 0.1), ("#", 0.1), ("-", 0.1), ("&", 0.08), ("@", 0.06)),
    *(("*", 0.05), ("$", 0.05), ("•", 0.04)),
)
_PAIRS = ("()", "''", '""', "[]", "“”", "--", "**", "<>")


def _punctuated(text: str, rng: Rng) -> str:
    dice = rng.random()
    if dice < 0.13:
        ending = weighted(rng, _ENDINGS)
        return text + (ending.upper() if text.isupper() else ending)
    if dice < 0.165:
        return weighted(rng, _OPENINGS) + text
    if dice < 0.19:
        pair = _PAIRS[rng.integers(len(_PAIRS))]
        return pair[0] + text + pair[1]
    if dice < 0.2:
        # Leaders of menus and tables of contents.
        return text + "._-"[rng.integers(3)] * int(rng.integers(3, 9))
    return text


def _cased(text: str, rng: Rng) -> str:
    """Capitals, a capital first, or small letters, as signs and posters have them; seldom a mixture."""
    dice = rng.random()
    if dice < 0.46:
        return text.upper()
    if dice < 0.74:
        return text.capitalize()
    return _camel(text) if dice > 0.97 else text


def _camel(text: str) -> str:
    """Capitals at the begin of what looks like words: alternating halves, as in eBay and MegaStore."""
    middle = len(text) // 2
    return text[:middle].capitalize() + text[middle:].capitalize()


def _digits(rng: Rng, fewest: int, most: int) -> str:
    return "".join(rng.choice(_DIGITS, size=rng.integers(fewest, most + 1)))


def weighted(rng: Rng, choices: Iterable[tuple[T, float]]) -> T:
    """One of the choices, each with its share; shares add up to 1."""
    dice = rng.random()
    for choice, share in choices:
        dice -= share
        if dice < 0:
            return choice
    return choice
