"""The only place for the secrets that the service `private` handles and its callers bring: by place, all different."""

from __future__ import annotations

SECRETS = {
    "query": "Lp7q-query-41",
    "query, token": "Lp7q-query-token-42",
    "authorization": "Lp7q-bearer-43",
    "cookie": "Lp7q-cookie-44",
    "api key": "Lp7q-apikey-45",
    "baggage": "Lp7q-baggage-46",
    "user agent": "agent.47@mail.example",
    "log argument": "Lp7q-argument-48",
    "log field": "Lp7q-field-49",
    "log field, e-mail": "field.50@mail.example",
    "SQL literal": "literal.51@mail.example",
    "attribute": "Lp7q-attribute-52",
    "URL user": "Lp7q-urluser-53",
    "URL query": "Lp7q-urlquery-54",
    "label": "label.55@mail.example",
    "cause": "Lp7q-cause-56",
    "exception": "Lp7q-exception-57",
    "exception, card": "4556737586899855",
}
"""What must not leave. Of these a plain SDK sends all but the headers that it does not record."""
