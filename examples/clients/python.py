# Sessions of narvik from Python, with the driver psycopg 3 and its pool.
# Connects as PGHOST, PGDATABASE, PGUSER and so on say; see setup.sql.
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

# One connection, one thread at a time: threads that share one share the identity.
# "with pool.connection()" takes a connection for one transaction.  An exception
# rolls it back, and a broken connection does not return to the pool.
pool = ConnectionPool()


def query(sql, *values):
    with pool.connection() as db:
        return db.execute(sql, values).fetchone()


def log_in(user_id, device):
    """After the password was right: the Set-Cookie header to answer with."""
    return query(
        "SELECT narvik_create_cookie(token) FROM narvik_create_session(%s, %s)",
        user_id,
        Jsonb({"device": device}),
    )[0]


def validate(cookies):
    """On every request, with its Cookie header: user, device and a cookie; or None.

    If there is a cookie, answer with it as Set-Cookie: the session lives longer now.
    """
    return query(
        """SELECT s.user_id, s.data->>'device',
                  CASE WHEN s.new OR s.extended THEN narvik_create_cookie(token) END
           FROM narvik_read_cookie(%s) AS token, narvik_validate_session(token) AS s""",
        cookies,
    )


def as_user(cookies, work):
    """Work with the database as this user.

    Row-level security shows her rows, and the identity ends with the
    transaction: the next one on this connection is nobody.
    """
    with pool.connection() as db:
        db.execute("SELECT narvik_authenticate(narvik_read_cookie(%s))", (cookies,))
        return work(db)


def log_out(cookies):
    """The Set-Cookie header that removes the cookie of the session that is gone."""
    return query(
        """SELECT narvik_create_blank_cookie(),
                  narvik_invalidate_session(narvik_session_id(narvik_read_cookie(%s)))""",
        cookies,
    )[0]


# ---- a visit -----------------------------------------------------------------


def notes(cookies):
    rows = as_user(cookies, lambda db: db.execute("SELECT body FROM notes ORDER BY body").fetchall())
    print("notes:", ", ".join(body for body, in rows) or "none")


def request(cookies):
    session = validate(cookies)
    if session is None:
        print("request: not logged in")
        return
    user_id, device, set_cookie = session
    print(f"request: {user_id} on a {device}")
    if set_cookie:
        print("set cookie:", set_cookie)


request("theme=dark")
notes("theme=dark")
set_cookie = log_in("alice", "laptop")
print("log in:", set_cookie)
cookies = "theme=dark; " + set_cookie.split(";")[0]  # what a browser sends from now on
request(cookies)
notes(cookies)
# Here twenty of its thirty days go by at once.
query(
    """SELECT narvik_update_session_expiry(narvik_session_id(narvik_read_cookie(%s)),
                                           now() + interval '10 days')""",
    cookies,
)
request(cookies)
request(cookies)
print("log out:", log_out(cookies))
request(cookies)
notes(cookies)
pool.close()
