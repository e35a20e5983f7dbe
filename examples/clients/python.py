# Sessions of narvik from Python, with the driver psycopg 3.
# Connects as PGHOST, PGDATABASE, PGUSER and so on say; see setup.sql.
import psycopg
from psycopg.types.json import Jsonb

db = psycopg.connect(autocommit=True)


def log_in(user_id, device):
    """After the password was right: the Set-Cookie header to answer with."""
    return db.execute(
        "SELECT narvik_create_cookie(token) FROM narvik_create_session(%s, %s)",
        (user_id, Jsonb({"device": device})),
    ).fetchone()[0]


def validate(cookies):
    """On every request, with its Cookie header: user, device and a cookie; or None.

    If there is a cookie, answer with it as Set-Cookie: the session lives longer now.
    """
    return db.execute(
        """SELECT s.user_id, s.data->>'device',
                  CASE WHEN s.new OR s.extended THEN narvik_create_cookie(token) END
           FROM narvik_read_cookie(%s) AS token, narvik_validate_session(token) AS s""",
        (cookies,),
    ).fetchone()


def as_user(cookies, work):
    """Work with the database as this user.

    Row-level security shows her rows, and the identity ends with the
    transaction: the next one on this connection is nobody.
    """
    with db.transaction():
        db.execute("SELECT narvik_authenticate(narvik_read_cookie(%s))", (cookies,))
        return work()


def log_out(cookies):
    """The Set-Cookie header that removes the cookie of the session that is gone."""
    return db.execute(
        """SELECT narvik_create_blank_cookie(),
                  narvik_invalidate_session(narvik_session_id(narvik_read_cookie(%s)))""",
        (cookies,),
    ).fetchone()[0]


# ---- a visit -----------------------------------------------------------------


def notes(cookies):
    rows = as_user(cookies, lambda: db.execute("SELECT body FROM notes ORDER BY body").fetchall())
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
db.execute(
    """SELECT narvik_update_session_expiry(narvik_session_id(narvik_read_cookie(%s)),
                                           now() + interval '10 days')""",
    (cookies,),
)
request(cookies)
request(cookies)
print("log out:", log_out(cookies))
request(cookies)
notes(cookies)
db.close()
