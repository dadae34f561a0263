"""What telemetry may say about a statement: never a literal, always the operation and the table."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelkit import _sql
from otelkit._sql import OPERATIONS, TEXT_LIMIT, grammar, read

SECRET = "canary"


def text(sql: str, dialect: str = "postgresql") -> str:
    return read(sql, grammar(dialect)).text


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 'canary'", "SELECT ?"),
        ("SELECT 'it''s canary', 'x'", "SELECT ?, ?"),
        ("SELECT ''", "SELECT ?"),
        (r"SELECT E'it\'s canary'", "SELECT ?"),
        (r"SELECT 'C:\', 'canary'", "SELECT ?, ?"),
        ("SELECT U&'canary', N'canary', B'0101', x'63616e617279'", "SELECT ?, ?, ?, ?"),
        ("SELECT DATE'2020-01-01'", "SELECT DATE?"),
        ("SELECT $$canary$$, $q$can$$ary$q$", "SELECT ?, ?"),
        ("SELECT 1, 2.5, .5, 1e-5, 1.5E+10, 0xCAFE, 1_000", "SELECT ?, ?, ?, ?, ?, ?, ?"),
        ("SELECT -4111111111111111", "SELECT -?"),
        ("SELECT a FROM t WHERE b IN (1, 'canary', 3)", "SELECT a FROM t WHERE b IN (?, ?, ?)"),
        ("SELECT 1 -- canary\nFROM t", "SELECT ? FROM t"),
        ("SELECT 1 /* canary */ FROM t", "SELECT ? FROM t"),
        ("SELECT/* outer /* inner */ canary */1", "SELECT ?"),
        ("SELECT 'canary", "SELECT ?"),
        ("SELECT $x$canary", "SELECT ?"),
        ("SELECT 1 /* canary", "SELECT ?"),
        ("SELECT a->'canary', b->>'canary', c#>'{canary}'", "SELECT a->?, b->>?, c#>?"),
        ("SELECT a @> '{}' AND b ? 'canary' AND c ?| ARRAY['canary']", "SELECT a @> ? AND b ? ? AND c ?| ARRAY[?]"),
        ('SELECT "items"."id"', 'SELECT "items"."id"'),
        ('SELECT "canary@example.com"', "SELECT ?"),
        ('SELECT "4111111111111111"', "SELECT ?"),
        ("SELECT a1, t2.b3, _4", "SELECT a1, t2.b3, _4"),
        ("CREATE USER bob PASSWORD 'canary'", "CREATE USER bob PASSWORD ?"),
        ("ALTER USER bob IDENTIFIED BY canary", "ALTER USER bob IDENTIFIED BY ?"),
    ],
)
def test_literals_and_comments_never_stay(sql: str, expected: str) -> None:
    assert text(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM t WHERE b = ? AND c = ?1",
        "SELECT a FROM t WHERE b = %s AND c = %(canary_1)s",
        "SELECT a FROM t WHERE b = $1::VARCHAR AND c = $22",
        "SELECT a FROM t WHERE b = :canary_1 AND c = :1",
        "SELECT a FROM t WHERE b = @canary",
    ],
)
def test_parameters_stay_as_they_are(sql: str) -> None:
    assert text(sql) == sql


@pytest.mark.parametrize(
    ("dialect", "sql", "expected"),
    [
        ("mysql", r"SELECT 'it\'s canary'", "SELECT ?"),
        ("mysql", 'SELECT "canary"', "SELECT ?"),
        ("mysql", "SELECT `a` # canary\nFROM `t`", "SELECT `a` FROM `t`"),
        ("mysql", "SELECT a--1 FROM t", "SELECT a--? FROM t"),
        ("mysql", "SELECT a -- canary", "SELECT a"),
        ("mysql", "SELECT /* a /* b */ c", "SELECT c"),
        ("sqlite", 'SELECT "a" FROM "t" WHERE "a" = "canary"', 'SELECT "a" FROM "t" WHERE "a" = ?'),
        ("sqlite", 'SELECT 1 FROM "t" WHERE "a"."b" = "t"."c"', 'SELECT ? FROM "t" WHERE "a"."b" = "t"."c"'),
        ("sqlite", 'INSERT INTO t VALUES ("canary", "canary")', "INSERT INTO t VALUES (?, ?)"),
        ("sqlite", "SELECT [a b] FROM [it's]", "SELECT [a b] FROM ?"),
        ("mssql", "SELECT [a b] FROM [t] WHERE c = N'canary'", "SELECT [a b] FROM [t] WHERE c = ?"),
        ("oracle", "SELECT q'[it's canary]', Q'!canary!', nq'{canary}' FROM dual", "SELECT ?, ?, ? FROM dual"),
        ("bigquery", r'SELECT "can\"ary" # canary', "SELECT ?"),
        ("some_dialect_nobody_knows", "SELECT $$canary$$, 'canary'", "SELECT ?, ?"),
    ],
)
def test_each_database_ends_its_literals_in_its_own_way(dialect: str, sql: str, expected: str) -> None:
    assert text(sql, dialect) == expected


@pytest.mark.parametrize(
    ("sql", "operation", "collection"),
    [
        ("SELECT * FROM items", "SELECT", "items"),
        ("select * from items", "SELECT", "items"),
        ("\n  SELECT items.id \nFROM items \nWHERE items.id = ?", "SELECT", "items"),
        ('SELECT 1 FROM "Order" AS o', "SELECT", "Order"),
        ('SELECT 1 FROM shop."order items"', "SELECT", "shop.order items"),
        ("SELECT 1", "SELECT", None),
        ("SELECT a FROM items JOIN orders ON true", "SELECT", "items"),
        ("SELECT count(*) FROM (SELECT a FROM (SELECT b FROM deep) AS x) AS y", "SELECT", "deep"),
        ("SELECT a FROM (items JOIN b ON true)", "SELECT", "items"),
        ("SELECT (SELECT max(x) FROM other) FROM items", "SELECT", "items"),
        ("SELECT EXTRACT(year FROM ts), TRIM(both FROM x) FROM items", "SELECT", "items"),
        ("SELECT a IS DISTINCT FROM b FROM items", "SELECT", "items"),
        ("SELECT 1 FROM generate_series(1, 5)", "SELECT", None),
        ("SELECT 1 FROM ?", "SELECT", None),
        ("(SELECT a FROM x) UNION (SELECT b FROM y)", "SELECT", "x"),
        ("WITH c AS (SELECT 1 FROM a), d AS (SELECT 2) INSERT INTO items SELECT * FROM c", "INSERT", "items"),
        ("WITH RECURSIVE c AS MATERIALIZED (SELECT 1 FROM a) SELECT * FROM items", "SELECT", "items"),
        ("INSERT INTO items (a) VALUES (?)", "INSERT", "items"),
        ("INSERT OR REPLACE INTO items VALUES (1)", "INSERT", "items"),
        ("UPDATE ONLY items SET a = 1 FROM b", "UPDATE", "items"),
        ("UPDATE OR IGNORE items SET a = 1", "UPDATE", "items"),
        ("DELETE FROM items USING b", "DELETE", "items"),
        ("MERGE INTO items USING b ON true", "MERGE", "items"),
        ("CREATE TABLE IF NOT EXISTS items (a INT)", "CREATE", "items"),
        ("CREATE UNIQUE INDEX i ON items (a)", "CREATE", "items"),
        ("DROP TABLE items", "DROP", "items"),
        ("ALTER TABLE ONLY items ADD b INT", "ALTER", "items"),
        ("TRUNCATE TABLE items, b", "TRUNCATE", "items"),
        ("TRUNCATE items", "TRUNCATE", "items"),
        ("SAVEPOINT sa_savepoint_1", "SAVEPOINT", None),
        ("PRAGMA table_info(items)", "PRAGMA", None),
        ("/* traceparent='canary' */ SELECT 1 FROM items", "SELECT", "items"),
        ("SELECT 1; DROP TABLE items", "SELECT", None),
        ("canary", None, None),
        ("", None, None),
    ],
)
def test_operation_and_collection(sql: str, operation: str | None, collection: str | None) -> None:
    statement = read(sql, grammar("postgresql"))
    assert (statement.operation, statement.collection) == (operation, collection)


def test_text_is_bounded_and_the_table_is_found_behind_a_long_list_of_columns() -> None:
    columns = ", ".join(f"column_{n}" for n in range(1000))
    statement = read(f"SELECT {columns} FROM items", grammar("sqlite"))  # noqa: S608  it is read, not run
    assert len(statement.text) == TEXT_LIMIT + 3
    assert statement.text.endswith("...")
    assert statement.collection == "items"


def test_a_literal_that_is_cut_off_is_still_hidden() -> None:
    assert SECRET not in text(f"SELECT '{SECRET * 20_000}'")


def test_reading_the_same_text_again_costs_no_reading() -> None:
    first = read("SELECT 'once' FROM items", grammar("sqlite"))
    assert read("SELECT 'once' FROM items", grammar("sqlite")) is first


def test_what_is_kept_is_bounded() -> None:
    for number in range(2_000):
        read(f"SELECT {number} FROM items", grammar("sqlite"))  # noqa: S608  it is read, not run
    assert _sql._read_short.cache_info().currsize <= 512
    assert _sql._read_long.cache_info().maxsize == 16


@pytest.mark.parametrize("dialect", ["postgresql", "mysql", "oracle", "sqlite"])
@pytest.mark.parametrize(
    "piece", ["'", '"', "$", "$a", "$a$", "/*", "*/", "(", "\\'", "e'\\", "q'[", "1e", "%(", ":", "["]
)
def test_time_is_linear_whatever_the_text(piece: str, dialect: str) -> None:
    hostile = piece * (200_000 // len(piece))
    begun = time.process_time()
    _sql._read(hostile, grammar(dialect))
    assert time.process_time() - begun < 2


_MARKS = st.sampled_from(
    ["'", '"', "`", "$$", "$t$", "--", "/*", "*/", "\n", "\\", "E'", "q'[", "]'", "#", "[", "]", ";"]
)
_ANYTHING = st.lists(st.one_of(_MARKS, st.text(max_size=5)), max_size=30).map("".join)


@given(_ANYTHING, st.sampled_from(["postgresql", "mysql", "sqlite", "mssql", "oracle", "unknown"]))
def test_any_text_gives_a_bounded_answer(sql: str, dialect: str) -> None:
    statement = read(sql, grammar(dialect))
    assert len(statement.text) <= TEXT_LIMIT + 3
    assert statement.operation is None or statement.operation in OPERATIONS


@given(st.text(alphabet=st.characters(exclude_characters="\0"), max_size=60), st.text("0123456789.eE", max_size=10))
def test_no_well_formed_literal_survives(value: str, number: str) -> None:
    quoted = value.replace("'", "''")
    sql = f"SELECT a FROM items WHERE a = '{quoted}' AND b = 7{number} AND c = 'end'"  # noqa: S608  it is read, not run
    assert text(sql) == "SELECT a FROM items WHERE a = ? AND b = ? AND c = ?"
