"""The only place that knows units: which ones a declaration may name, and what Prometheus makes of them.

Units are UCUM (the specification, metrics/api.md, "Instrument unit"), as far as services count in them. Money is the
bare code of ISO 4217: no UCUM, but the one spelling that keeps currencies apart in Prometheus, where annotations in
braces vanish (docs/decisions/0018).
"""

from __future__ import annotations

import re
from typing import Final

SECONDS: Final = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9, "min": 1 / 60, "h": 1 / 3600, "d": 1 / 86_400}
"""Units of time, and how many of each are one second."""

_NAMES: Final = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "%": "percent",
}
"""Words that Prometheus writes behind a name (prometheus/otlptranslator)."""
_PER: Final = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}
"""The same below a fraction line."""
_PERIODS: Final = frozenset({"s", "min", "h", "d"})
"""What a declaration may have there: of the others, `m` is metres to UCUM, `w` and `y` are nothing."""
_WORDS: Final = _NAMES | {"KBy": "kilobytes"}
"""The same with what libraries emit, and UCUM does not know."""
_PLAIN: Final = frozenset({"bit", "kg", "km", "kW"})
"""Units that Prometheus writes as they are."""
_CURRENCIES: Final = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF
    CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD
    HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL
    MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON
    RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX
    USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
    """.split()  # noqa: SIM905  a list literal of 170 lines would hide what surrounds it
)
"""Active codes of ISO 4217, funds included, metals and test codes not."""
_ANNOTATION: Final = re.compile(r"\{[a-z][a-z0-9_]*\}")
_ANYTHING_IN_BRACES: Final = re.compile(r"\{[^}]*\}")
_NO_WORD: Final = re.compile(r"[^a-zA-Z0-9:]+")
_SOME: Final = "s, ms, By, 1, %, {order}, By/s, EUR"


def problem(unit: object) -> str:
    """Say what is wrong with a unit; nothing where it is right."""
    if type(unit) is not str or not unit:
        return f"needs a unit: {_SOME}"
    if unit in _CURRENCIES:
        return ""
    inner = unit[1:-1]
    if unit == f"{{{inner}}}" and inner.upper() in _CURRENCIES:
        return f"is money in braces, which Prometheus drops from the name: write {inner.upper()}"
    above, slash, below = unit.partition("/")
    if slash and below in _CURRENCIES | {"1", "%"}:
        return f"cannot be divided by {below}"
    if _is_unit(above) and (not slash or below in _PERIODS or _ANNOTATION.fullmatch(below)):
        return ""
    return f"is no unit that otelkit knows; units are UCUM or ISO 4217: {_SOME}"


def _is_unit(text: str) -> bool:
    known = text == "1" or text in _NAMES or text in _PLAIN
    return known or _ANNOTATION.fullmatch(text) is not None


def prometheus_name(name: str, unit: str, *, gauge: bool = False, counter: bool = False) -> str:
    """Return the name that Prometheus gives a metric that is pushed to it (prometheus/otlptranslator).

    Args:
        name: As emitted.
        unit: The same; any that libraries use, not only those that can be declared.
        gauge: Whether it is a gauge in OpenTelemetry's sense; then a bare 1 is a ratio.
        counter: Whether it only grows.
    """
    words = [word for word in _NO_WORD.split(name) if word]
    above, _, below = _ANYTHING_IN_BRACES.sub("", unit).partition("/")
    above, below = above.strip(), below.strip()
    if above and above != "1" and (said := _WORDS.get(above, _NO_WORD.sub("_", above).strip("_"))) not in words:
        words.append(said)
    if below and (said := _PER.get(below, _NO_WORD.sub("_", below).strip("_"))) not in words:
        words += ["per", said]
    for last in (["total"] if counter else []) + (["ratio"] if gauge and unit == "1" else []):
        words = [*(word for word in words if word != last), last]
    return "_".join(words)
