"""The only place that lists what must be redacted, as it stands in real telemetry, and what must pass unchanged.

The secrets are made up; their shapes are the real ones. Those that a secret scanner would take for live keys are put
together from two halves.
"""

from __future__ import annotations

from typing import NamedTuple


class Secret(NamedTuple):
    """A secret where it is met.

    Args:
        key: The attribute that the text stands under; "" for a text of its own.
        text: The text.
        secret: What must be gone from it.
        rule: The rule that must name it.
    """

    key: str
    text: str
    secret: str
    rule: str


def _key(prefix: str, characters: str, length: int) -> str:
    """Write a key of a known shape."""
    return prefix + (characters * length)[:length]


_MIXED = "a1B2c3D4e5F6g7H8i9J0"
_HEX = "0a1b2c3d4e5f6789"
_JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
_AWS_ID = _key("AKIA", "IOSFODNN7EXAMPLE", 16)
_AWS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
_GITHUB = _key("ghp_", _MIXED, 36)
_STRIPE = _key("sk_" + "live_", _MIXED, 24)
_PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq\n5wIDAQABAoIBAQ==\n-----END RSA PRIVATE KEY-----"
_CARD = "4111111111111111"

_SQLALCHEMY = """\
(psycopg.errors.UniqueViolation) duplicate key value violates unique constraint "users_email_key"
DETAIL:  Key (email)=(bob@x.y) already exists.
[SQL: INSERT INTO users (email, note) VALUES (%(email)s, 'literal note')]
[parameters: {'email': 'bob@x.y', 'name': "O'Neil"}]
(Background on this error at: https://sqlalche.me/e/20/gkpj)"""
_MANY = """\
(sqlite3.IntegrityError) UNIQUE constraint failed: users.email
[SQL: INSERT INTO users (email) VALUES (?)]
[parameters: [('first
line', 'Ada'), ('second', 'Grace')  ... displaying 10 of 90 total bound parameter sets ...  ('last', 'Edsger')]]
(Background on this error at: https://sqlalche.me/e/20/gkpj)"""

SECRETS: tuple[Secret, ...] = (
    # Passwords in texts
    Secret("", "login failed: password=hunter2", "hunter2", "password"),
    Secret("", "login failed for bob, password: hunter2", "hunter2", "password"),
    Secret("", "password = hunter2, user = bob", "hunter2", "password"),
    Secret("", "PASSWORD=Tr0ub4dor&3 host=db", "Tr0ub4dor&3", "password"),
    Secret("", "password=correct,horse;battery", "horse", "password"),
    Secret("", '{"user": "bob", "password": "hunter2"}', "hunter2", "password"),
    Secret("", '{"password":"hun\\"ter2","next":1}', 'ter2"', "password"),
    Secret("", "{'password': 'hunter2', 'user': 'bob'}", "hunter2", "password"),
    Secret("", "{'password': 'it\\'s hunter2'}", "hunter2", "password"),
    Secret("", '"{\\"password\\": \\"hunter2\\", \\"a\\": 1}"', "hunter2", "password"),
    Secret("", "login(user='bob', password='hunter2')", "hunter2", "password"),
    Secret("", "login(user='bob', password=b'hunter2')", "hunter2", "password"),
    Secret("", "{'password': ['hunter2', 'hunter2']}", "hunter2", "password"),
    Secret("", "form: MultiDict({'password': ('hunter2',)})", "hunter2", "password"),
    Secret("", "db_password: hunter2", "hunter2", "password"),
    Secret("", "dbPassword=hunter2", "hunter2", "password"),
    Secret("", "POSTGRES_PASSWORD=hunter2", "hunter2", "password"),
    Secret("", "user=bob&passwd=hunter2&next=1", "hunter2", "password"),
    Secret("", "pwd=hunter2", "hunter2", "password"),
    Secret("", "passphrase: opensesame42", "opensesame42", "password"),
    Secret("", "pass phrase = opensesame42", "opensesame42", "password"),
    Secret("", "wrong password 'hunter2' for bob", "hunter2", "password"),
    Secret("", 'the password is "hunter2"', "hunter2", "password"),
    Secret("", "password:\thunter2", "hunter2", "password"),
    Secret("", "password => hunter2", "hunter2", "password"),
    Secret("", "password%3Dhunter2", "hunter2", "password"),
    Secret("", "<user><password>hunter2</password></user>", "hunter2", "password"),
    Secret("", "Server=db;User Id=sa;Password=hunter2;Encrypt=yes", "hunter2", "password"),
    Secret("", "host=db port=5432 user=app password=hunter2 dbname=shop", "hunter2", "password"),
    Secret("", "jdbc:postgresql://db/shop?user=app&password=hunter2", "hunter2", "url-query"),
    Secret("", "running: pg_dump --password hunter2 shop", "hunter2", "password"),
    Secret("", "running: tool --db-password=hunter2", "hunter2", "password"),
    Secret("", "mysqldump -u root -phunter2 shop", "hunter2", "password"),
    Secret("", "curl -u bob:hunter2 https://example.com", "hunter2", "password"),
    Secret("", "ValueError: password=hunter2", "hunter2", "password"),
    Secret(
        "exception.stacktrace", '  File "a.py", line 1, in f\n    login(password="hunter2")\n', "hunter2", "password"
    ),
    Secret("", "password_hash=$2b$12$abcdefghijklmnopqrstuv", "$2b$12$abcdefghijklmnopqrstuv", "password"),
    # Passwords, secrets and tokens by their keys
    Secret("password", "anything at all", "anything at all", "password"),
    Secret("user.password", "x", "x", "password"),
    Secret("dbPassword", "hunter2", "hunter2", "password"),
    Secret("client_secret", "hunter2", "hunter2", "secret"),
    Secret("app.secrets.stripe", "hunter2", "hunter2", "secret"),
    Secret("accessToken", "hunter2", "hunter2", "token"),
    Secret("http.request.header.x-csrf-token", "hunter2", "hunter2", "token"),
    Secret("http.request.header.x-amz-security-token", "hunter2", "hunter2", "token"),
    Secret("http.request.header.authorization", "Custom hunter2", "hunter2", "authorization"),
    Secret("http.request.header.proxy-authorization", "hunter2", "hunter2", "authorization"),
    Secret("http.request.header.cookie", "a=hunter2", "hunter2", "cookie"),
    Secret("http.response.header.set-cookie", "a=hunter2; Path=/", "hunter2", "cookie"),
    Secret("http.request.header.x-api-key", "hunter2", "hunter2", "api-key"),
    Secret("stripe.apiKey", "hunter2", "hunter2", "api-key"),
    Secret("tls.private_key", "hunter2", "hunter2", "api-key"),
    Secret("aws.credentials", "hunter2", "hunter2", "authorization"),
    Secret("session_id", "hunter2", "hunter2", "session"),
    Secret("session.id", "hunter2", "hunter2", "session"),
    Secret("user.pin", "1234", "1234", "code"),
    Secret("payment.cvv", "123", "123", "code"),
    Secret("person.ssn", "078-05-1120", "078-05-1120", "code"),
    # Tokens, keys and headers in texts
    Secret("", "token=hunter2", "hunter2", "token"),
    Secret("", 'calling with {"access_token": "hunter2"}', "hunter2", "token"),
    Secret("", "refresh_token: 8xLOxBtZp8", "8xLOxBtZp8", "token"),
    Secret("", "api_key=hunter2", "hunter2", "api-key"),
    Secret("", "X-Api-Key: 4f2a9c", "4f2a9c", "api-key"),
    Secret("", '"apikey": "hunter2"', "hunter2", "api-key"),
    Secret("", "client_secret=hunter2", "hunter2", "secret"),
    Secret("", f"aws_secret_access_key = {_AWS_KEY}", _AWS_KEY, "secret"),
    Secret("", "session_id=hunter2", "hunter2", "session"),
    Secret("", "JSESSIONID=8A7F33C2", "8A7F33C2", "session"),
    Secret("", "/cart;jsessionid=8A7F33C2", "8A7F33C2", "session"),
    Secret("", "cvv: 123", "123", "code"),
    Secret("", '{"pin": 1234}', "1234", "code"),
    Secret("", '{"ssn": "078-05-1120"}', "078-05-1120", "code"),
    Secret("", "Authorization: Bearer abc123def", "abc123def", "authorization"),
    Secret("", "authorization: Basic Ym9iOmh1bnRlcjI=", "Ym9iOmh1bnRlcjI=", "authorization"),
    Secret("", "sent Basic Ym9iOmh1bnRlcjI= to the proxy", "Ym9iOmh1bnRlcjI=", "authorization"),
    Secret("", "sent bearer 0f9e8d7c6b5a to upstream", "0f9e8d7c6b5a", "authorization"),
    Secret("", "{'Authorization': 'Bearer abc123def'}", "abc123def", "authorization"),
    Secret("", "[(b'authorization', b'Custom hunter2')]", "hunter2", "header"),
    Secret("", 'Digest username="bob", response="6629fae49393a05397450978507c4ef1"', "6629fae4", "authorization"),
    Secret("", f"AWS4-HMAC-SHA256 Credential={_AWS_ID}/20240101, Signature=fe5f80", "fe5f80", "authorization"),
    Secret("", "Negotiate YIIJvwYGKwYBBQUCoIIJszCCCa", "YIIJvwYGKwYBBQUCoIIJszCCCa", "authorization"),
    Secret("", "Cookie: theme=dark; sid=31d4d96e407aad42", "31d4d96e407aad42", "cookie"),
    Secret("", "Set-Cookie: auth=31d4d96e; HttpOnly", "31d4d96e", "cookie"),
    Secret("", "{'cookie': 'a=hunter2'}", "hunter2", "cookie"),
    Secret("", f"decoded {_JWT} for bob", _JWT, "jwt"),
    Secret("span.note", _JWT, _JWT, "jwt"),
    Secret("", _PEM, "MIIEpAIBAAKCAQEA7bq", "private-key"),
    Secret("", _PEM.replace("\n", "\\n"), "5wIDAQABAoIBAQ", "private-key"),
    Secret("", _PEM[:60], "MIIEpAIBAAK", "private-key"),
    Secret("", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk", "b3BlbnNzaC1rZXk", "private-key"),
    Secret("", _key("AGE-SECRET-KEY-1", "QPZRY9X8GF2TVDW0S3JN", 58), "QPZRY9X8GF2TVDW0S3JN", "private-key"),
    # Keys by their shape
    Secret("", f"using {_AWS_ID} in eu-west-1", _AWS_ID, "aws-key"),
    Secret("", _key("ASIA", "Y34FZKBOKMUTVV7A", 16), "Y34FZKBOKMUTVV7A", "aws-key"),
    Secret("", f"git push with {_GITHUB}", _GITHUB, "github-token"),
    Secret("", _key("gho_", _MIXED, 36), _MIXED, "github-token"),
    Secret("", _key("github_pat_", _MIXED, 82), _MIXED, "github-token"),
    Secret("", _key("glpat-", _MIXED, 20), _MIXED, "gitlab-token"),
    Secret("", "xox" + "b-123456789012-1234567890123-" + _MIXED, _MIXED, "slack-token"),
    Secret("", "POST https://hooks.slack.com/" + "services/T00000000/B00000000/XXXX1111", "T00000000/B0", "webhook"),
    Secret("", "https://discord.com/api/" + f"webhooks/123456789/{_MIXED}", _MIXED, "webhook"),
    Secret("", f"charge with {_STRIPE}", _STRIPE, "stripe-key"),
    Secret("", _key("rk_" + "live_", _MIXED, 24), _MIXED, "stripe-key"),
    Secret("", _key("whsec_", _MIXED, 32), _MIXED, "stripe-key"),
    Secret("", _key("AIza", _MIXED, 35), _MIXED, "google-key"),
    Secret("", _key("ya29.", _MIXED, 60), _MIXED, "google-key"),
    Secret("", _key("npm_", _MIXED, 36), _MIXED, "registry-token"),
    Secret("", _key("pypi-AgE", _MIXED, 80), _MIXED, "registry-token"),
    Secret("", _key("SG.", _MIXED, 22) + "." + (_MIXED * 3)[:43], _MIXED, "mail-key"),
    Secret("", _key("SK", _HEX, 32), _HEX, "twilio-key"),
    Secret("", _key("sk-proj-", _MIXED, 48), _MIXED, "ai-key"),
    Secret("", _key("sk-ant-api03-", _MIXED, 93), _MIXED, "ai-key"),
    Secret("", _key("hf_", "aBcDeFgHiJ", 34), "aBcDeFgHiJ", "ai-key"),
    Secret("", _key("dop_v1_", _HEX, 64), _HEX, "cloud-token"),
    Secret("", "bot 123456789:AA" + (_MIXED * 2)[:33], _MIXED, "telegram-token"),
    Secret("", _key("hvs.", _MIXED, 24), _MIXED, "vault-token"),
    Secret("", _key("dapi", _HEX, 32), _HEX, "databricks-token"),
    Secret("", _key("shpat_", _HEX, 32), _HEX, "cloud-token"),
    Secret("", _key("tskey-" + "auth-", _MIXED, 24), _MIXED, "cloud-token"),
    # Connection strings and URLs
    Secret("", "could not connect to postgresql://app:hunter2@db:5432/shop", "hunter2", "url-credentials"),
    Secret("", "redis://:hunter2@cache:6379/0", "hunter2", "url-credentials"),
    Secret("", "amqp://app:hun:ter2@mq//", "ter2", "url-credentials"),
    Secret("", "postgres://app:hun/ter2@db/shop", "ter2", "url-credentials"),
    Secret("", "postgres://app:p@ssw0rd@db/shop", "ssw0rd", "url-credentials"),
    Secret("", "https://0123456789abcdef@sentry.example.com/1", "0123456789abcdef", "url-credentials"),
    Secret("url.full", "https://bob:hunter2@api.example.com/v1", "hunter2", "url-credentials"),
    Secret("", "mongodb+srv://app:hunter2@c0.abc.mongodb.net/?retryWrites=true", "hunter2", "url-credentials"),
    Secret("", "jdbc:oracle:thin:scott/tiger@//db:1521/shop", "tiger", "url-credentials"),
    Secret("", "AccountName=shop;AccountKey=Zm9vYmFyYmF6cXV4==;EndpointSuffix=x", "Zm9vYmFyYmF6cXV4", "api-key"),
    Secret("", "SharedAccessKeyName=Root;SharedAccessKey=Zm9vYmFyYmF6cXV4=", "Zm9vYmFyYmF6cXV4", "api-key"),
    Secret("url.query", "password=hunter2&next=%2F", "hunter2", "url-query"),
    Secret("url.query", "q=private+words", "private", "url-query"),
    Secret("url.full", "https://api.example.com/v1/search?q=private&page=2", "private", "url-query"),
    Secret("url.full", "https://x.example/cb#access_token=hunter2", "hunter2", "url-query"),
    Secret("http.target", "/orders?email=bob%40example.com", "bob%40example.com", "url-query"),
    Secret("http.url", "http://x.example/a?b c=private&d[]=2", "private", "url-query"),
    Secret("http.request.header.referer", "https://x.example/reset?key=hunter2", "hunter2", "url-query"),
    Secret("", '127.0.0.1:5000 - "GET /orders?customer=private HTTP/1.1" 200', "private", "url-query"),
    Secret("", "https://s3.example.com/b/o?X-Amz-Credential=A&X-Amz-Signature=fe5f80", "fe5f80", "url-query"),
    Secret("", "signed with X-Amz-Signature=fe5f80", "fe5f80", "signature"),
    Secret("", "https://acc.blob.core.windows.net/c?sv=2020&sig=Zm9vYmFy", "Zm9vYmFy", "url-query"),
    Secret("url.path", "/reset/" + _JWT, _JWT, "jwt"),
    Secret("url.path", "/users/bob@example.com/orders", "bob@example.com", "email"),
    # Statements and their parameters
    Secret("db.query.text", "SELECT * FROM users WHERE email = 'bob@x.y'", "bob@x.y", "statement"),
    Secret("db.statement", "SELECT * FROM users WHERE id = 12345", "12345", "statement"),
    Secret("db.statement", r"SELECT 'it\'s private' FROM t", "private", "statement"),
    Secret("db.statement", r"SELECT 'C:\', 'private' FROM t", "private", "statement"),
    Secret("db.statement", 'SELECT * FROM t WHERE a = "private"', "private", "statement"),
    Secret("db.statement", "SELECT 1 -- private", "private", "statement"),
    Secret("db.statement", "SET user:1 private", "private", "statement"),
    Secret("db.statement", "HSET user:1 name private", "private", "statement"),
    Secret("db.statement", '{"find": "users", "filter": {"name": "private"}}', "private", "statement"),
    Secret("db.query.parameter.email", "bob", "bob", "query-parameter"),
    Secret("db.operation.parameter.0", "bob", "bob", "query-parameter"),
    Secret("exception.message", _SQLALCHEMY, "bob@x.y", "query-parameter"),
    Secret("exception.message", _SQLALCHEMY, "O'Neil", "query-parameter"),
    Secret("exception.message", _SQLALCHEMY, "literal note", "statement"),
    Secret("exception.stacktrace", f"Traceback ...\n{_MANY}\n", "Ada", "query-parameter"),
    Secret("exception.stacktrace", f"Traceback ...\n{_MANY}\n", "Edsger", "query-parameter"),
    Secret("", "invalid name\nLINE 1: SELECT CAST('bob' AS INTEGER)\n            ^", "bob", "statement"),
    Secret("", "ProgrammingError: invalid name\\nLINE 12: ...bob' AND a = 'x'...\\n   ^", "bob", "statement"),
    Secret("", "DETAIL:  Key (email)=(bob@x.y) already exists.", "bob@x.y", "row-value"),
    Secret("", "DETAIL:  Key (lower(name::text))=(o(ne)il) already exists.", "o(ne)il", "row-value"),
    Secret("", "DETAIL:  Failing row contains (1, Ada, null).", "Ada", "row-value"),
    Secret("", "(1062, \"Duplicate entry 'o'neil' for key 'users.name'\")", "neil", "row-value"),
    Secret("", "invalid input for query argument $1: 'abc' (an integer is required)", "abc", "query-argument"),
    Secret("", 'invalid input syntax for type integer: "abc"', "abc", "query-argument"),
    Secret("", "unknown command 'FOO', with args beginning with: 'private' 'x'", "private", "query-argument"),
    Secret(
        "",
        "name\n  Field required [type=missing, input_value={'nick': 'bob'}, input_type=dict]",
        "bob",
        "validation-input",
    ),
    Secret("", "[{'type': 'int_parsing', 'loc': ('query', 'a'), 'input': 'bob'}]", "bob", "validation-input"),
    Secret("", "{'type': 'missing', 'input': {'nick': {'a': 'bob'}}}", "bob", "validation-input"),
    # Tasks, messages, baggage, processes
    Secret("celery.args", "('bob', 42)", "bob", "task-arguments"),
    Secret("kwargs", "{'name': 'bob'}", "bob", "task-arguments"),
    Secret("celery.retry.reason", "Retry in 3s: RuntimeError('hunter2')", "hunter2", "retry-reason"),
    Secret("celery.retry.reason", "hunter2", "hunter2", "retry-reason"),
    Secret("messaging.message.body", '{"name": "bob"}', "bob", "message-body"),
    Secret("http.request.header.baggage", "tenant=private,user=bob", "private", "baggage"),
    Secret("process.command_args", "hunter2", "hunter2", "command-line"),
    Secret("process.command_line", "app --token hunter2 serve", "hunter2", "token"),
    # Cards and addresses
    Secret("", f"card {_CARD} was declined", _CARD, "card-number"),
    Secret("", "card 4111 1111 1111 1111 was declined", "4111 1111", "card-number"),
    Secret("", "card 5500-0000-0000-0004 was declined", "5500-0000", "card-number"),
    Secret("", "3782 822463 10005", "822463", "card-number"),
    Secret("", "amex=378282246310005", "378282246310005", "card-number"),
    Secret("", "6011111111111117", "6011111111111117", "card-number"),
    Secret("order.note", "2223003122003222", "2223003122003222", "card-number"),
    Secret("", "mail to bob@example.com bounced", "bob@example.com", "email"),
    Secret("", "<Bob.O'Neil+shop@mail.example.co.uk>", "Neil+shop", "email"),
    Secret("user.email", "bob@example.com", "bob@example.com", "email"),
    Secret("", "joerg@müller.example wrote", "joerg@müller.example", "email"),
    Secret("", "/users/bob%40example.com", "bob%40example.com", "email"),
    Secret("otel.status_description", "ValueError: exc.secret@example.com", "exc.secret@example.com", "email"),
)


INNOCENTS: tuple[tuple[str, str], ...] = (
    # Ids
    ("", "550e8400-e29b-41d4-a716-446655440000"),
    ("", "order 00000000-0000-4111-8111-111111111111 shipped"),
    ("", "6ba7b810-9dad-4716-8446-655440000123"),
    ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ("span_id", "00f067aa0ba902b7"),
    ("", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("", "d41d8cd98f00b204e9800998ecf8427e"),
    ("", "commit 9fceb02d0ae598e95dc970b74767f19372d61af8"),
    ("", "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
    ("", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    ("", "507f1f77bcf86cd799439011"),
    ("order.id", "1000000000000000"),
    ("order.id", "4111111111111112"),
    ("order.id", "9999888877776666"),
    ("", "invoice 2024-000123456789"),
    ("", "order 7000-1111-2222-3333"),
    ("", "snowflake 1541815603606036480"),
    ("messaging.message.id", "0f4b8c1e-5f3a-4bd2-9b4a-1c2d3e4f5a6b"),
    ("", "request req_7f9c2ba4e88f827d616045507605853e"),
    ("", "AROA3XFRBF535PLBIFPI4"),
    ("", "pk_live_51H8a1B2c3D4e5F6g7H8"),
    ("", "AC0a1b2c3d4e5f67890a1b2c3d4e5f6789"),
    # Times, numbers, versions
    ("", "2024-01-01T00:00:00.123456Z"),
    ("", "2024-01-01 10:20:30,123"),
    ("", "1700000000000"),
    ("", "1700000000000000000"),
    ("", "took 0.4111111111111111 s"),
    ("", "total 1234.56 EUR, tax 234.57"),
    ("", "3.14159265358979"),
    ("", "1,234,567,890.00"),
    ("", "v1.2.3-rc.1+build.5"),
    ("", "Python/3.11.7 aiohttp/3.9.1"),
    ("", "ISBN 978-3-16-148410-0"),
    ("", "call +49 30 1234567"),
    ("", "1e-16"),
    ("", "0x7f8b8c0d1e2f"),
    ("", "12:34:56"),
    # Networks, paths, names
    ("client.address", "192.168.0.1"),
    ("", "2001:db8:85a3::8a2e:370:7334"),
    ("", "http://[::1]:8080/ready"),
    ("", "10.0.0.1:5432"),
    ("url.full", "https://api.example.com/v1/orders/42"),
    ("url.path", "/v1/orders/550e8400-e29b-41d4-a716-446655440000"),
    ("url.query", ""),
    ("http.target", "/orders/"),
    ("", "postgresql://db:5432/shop"),
    ("", "ssh://git@github.com/acme/shop.git"),
    ("", "git@github.com:acme/shop.git"),
    ("", "user@host:~$ ls"),
    ("", "a@b"),
    ("", "@acme/shop is installed"),
    ("", "lodash@4.17.21"),
    ("", "celery@worker-1.internal ready"),
    ("", "logo@2x.png"),
    ("", "getty@tty1.service started"),
    ("", "/usr/lib/python3.11/site-packages/starlette/routing.py"),
    ("", "C:\\Users\\bob\\app.py"),
    (
        "user_agent.original",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36",
    ),
    ("", "GET /orders/{order_id}"),
    ("", "SELECT shop.orders"),
    ("", "what? yes=no"),
    # Sentences
    ("", "the password must have 12 characters"),
    ("", "password reset requested"),
    ("", "password: must have 12 characters"),
    ("", "password: field required"),
    ("", "invalid token"),
    ("", "invalid token: expired"),
    ("", "token expired at 12:00"),
    ("", "Basic plan, Bearer of news"),
    ("", "Basic authentication is required"),
    ("", "the secret of success"),
    ("", "cookie: not found"),
    ("", "no session: starting one"),
    ("", "password authentication failed for user 'app'"),
    ("", "keyboard: connected, monkey: fed"),
    ("", "compass=north spin=up mapping=full"),
    ("", "password=None token=null secret=''"),
    ("", "password=%s"),
    ("", "UPDATE users SET password = ? WHERE id = ?"),
    ("", "password=$1 and token=:token"),
    ("", "login() missing 1 required positional argument: 'password'"),
    ("", "KeyError: 'token'"),
    ("", "login() got an unexpected keyword argument 'token'"),
    ("", "max_tokens=128, prompt_tokens: 512"),
    ("", "token_type=bearer expires_in=3600"),
    ("", "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"),
    ("", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"),
    ("", "task-scheduler-of-the-warehouse-2 runs"),
    ("", "sk-learn-compatible-estimators-everywhere"),
    # Code and statements
    ("exception.stacktrace", '  File "a.py", line 1, in f\n    login(user=user, password=form.password)\n'),
    ("exception.stacktrace", '  File "a.py", line 1, in f\n    token = headers["authorization"]\n'),
    ("exception.stacktrace", '  File "a.py", line 1, in f\n    @app.get\n'),
    ("exception.stacktrace", '  File "a.py", line 1, in f\n    password: str = field(default=None)\n'),
    ("", "GET /raise/bearer HTTP/1.1"),
    ("db.query.text", "SELECT a, b FROM t WHERE c = %(c_1)s AND d = $1 AND e = ?"),
    ("db.query.text", "INSERT INTO users (email, password) VALUES (?, ?)"),
    ("db.statement", "HSET ? ? ?"),
    ("db.statement", "COMMIT"),
    ("db.query.summary", "SELECT shop.orders"),
    # Keys that only sound like secrets
    ("token_count", "128"),
    ("tokens.used", "128"),
    ("gen_ai.usage.input_tokens", "128"),
    ("gen_ai.token.type", "input"),
    ("max_tokens", "128"),
    ("session.count", "3"),
    ("password_changed_at", "2024-01-01"),
    ("password.length", "12"),
    ("csrf.enabled", "true"),
    ("secret_santa", "Ada"),
    ("private_key_id", "k1"),
    ("tokenizer", "bpe"),
    ("author", "Ada"),
    ("authentication.method", "oidc"),
    ("cookie_banner.shown", "yes"),
    ("passenger.name", "Ada"),
    ("shipping.pinned", "yes"),
    ("code.function.name", "shop.auth.check_password"),
    ("db.collection.name", "tokens"),
    ("enduser.id", "42"),
)
"""Texts and the attributes that they stand under."""
