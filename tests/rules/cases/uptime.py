"""Cases of the alerts on pages that are looked at from outside."""

from __future__ import annotations

from rules.case import Case

_LABELS = 'job="blackbox", instance="https://shop.example/"'
_PAGE = {"job": "blackbox", "instance": "https://shop.example/"}
_DAY = 86_400


def _certificate(expires: str, *, answers: str = "1x300") -> dict[str, str]:
    """Return when a page's certificate expires, in seconds since time 0, and whether the page answers."""
    return {
        f"probe_ssl_earliest_cert_expiry{{{_LABELS}}}": expires,
        f"probe_success{{{_LABELS}}}": answers,
    }


CASES = (
    Case(
        alert="EndpointDown",
        says="a page cannot be reached",
        series={f"probe_success{{{_LABELS}}}": "1x4 0x20"},
        at="2m",
        fires=(_PAGE,),
        summary="https://shop.example/ cannot be reached from outside",
    ),
    Case(
        alert="EndpointDown",
        says="a page cannot be reached, not yet for 30 s",
        series={f"probe_success{{{_LABELS}}}": "1x4 0x20"},
        at="1m30s",
    ),
    Case(alert="EndpointDown", says="it answers", series={f"probe_success{{{_LABELS}}}": "1x20"}, at="2m"),
    Case(
        alert="EndpointSlow",
        says="looking takes 2.4 s on average",
        series={f"probe_duration_seconds{{{_LABELS}}}": "2.4x60"},
        at="6m",
        fires=(_PAGE,),
        summary="Looking at https://shop.example/ takes 2.4s",
    ),
    Case(
        alert="EndpointSlow",
        says="looking takes 2.4 s, not yet for 5 min",
        series={f"probe_duration_seconds{{{_LABELS}}}": "2.4x60"},
        at="4m45s",
    ),
    Case(
        alert="EndpointSlow",
        says="looking takes 1.6 s",
        series={f"probe_duration_seconds{{{_LABELS}}}": "1.6x60"},
        at="6m",
    ),
    Case(
        alert="CertificateExpiresSoon",
        says="a certificate expires in 10 days",
        series=_certificate(f"{10 * _DAY + 1200}x120"),
        at="20m",
        fires=(_PAGE,),
        summary="The certificate of https://shop.example/ expires in 10d 0h 0m 0s",
    ),
    Case(
        alert="CertificateExpiresSoon",
        says="a certificate expires in 10 days, not yet seen for 15 min",
        series=_certificate(f"{10 * _DAY}x120"),
        at="14m",
    ),
    Case(
        alert="CertificateExpiresSoon",
        says="a certificate expires in 20 days",
        series=_certificate(f"{20 * _DAY}x120"),
        at="20m",
    ),
    Case(
        alert="CertificateExpiresNow",
        says="a certificate expires in 2 days",
        series=_certificate(f"{2 * _DAY + 360}x60"),
        at="6m",
        fires=(_PAGE,),
        summary="The certificate of https://shop.example/ expires in 2d 0h 0m 0s",
    ),
    Case(
        alert="CertificateExpiresNow",
        says="a certificate expires in 2 days, not yet seen for 5 min",
        series=_certificate(f"{2 * _DAY}x60"),
        at="4m45s",
    ),
    Case(
        alert="CertificateExpiresNow",
        says="a certificate expires in 4 days",
        series=_certificate(f"{4 * _DAY}x60"),
        at="6m",
    ),
    Case(
        alert="CertificateExpiresNow",
        says="it has expired: the page answers no more, and tells no date",
        series=_certificate("3600x239", answers="1x239 0x300"),
        at="2h",
        fires=(_PAGE,),
    ),
    Case(
        alert="CertificateExpiresNow",
        says="nobody looks at the page any more",
        series=_certificate("3600x100 _x60", answers="1x100 _x60"),
        at="35m",
    ),
)
