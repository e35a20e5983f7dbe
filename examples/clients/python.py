# Sessions of narvik from Python, with the driver psycopg 3 and its pool.
# Connects as PGHOST, PGDATABASE, PGUSER and so on say; see setup.sql.
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

# One connection, one thread at a time: threads that share one share the identity.
# "with pool.connection()" takes a connection for one transaction.  An exception
# rolls it back, and a broken connection does not return to the pool.
pool = ConnectionPool()


def as_user(header, work):
    """Every request: a transaction that begins with the Cookie header as it came.

    WSGI gives its octets as characters of latin-1.  There is no session, or it is the
    transaction's identity, which row-level security trusts.  The identity ends with
    the transaction.  If the session has a set_cookie, answer with that header: it
    lives longer now.

    In a pipeline nothing is waited for before somebody fetches: work may send its
    own queries along.
    """
    with pool.connection() as db, db.pipeline():
        session = db.execute(
            "SELECT token, user_id, data->>'device', set_cookie FROM narvik_authenticate_cookie(%s)",
            [header.encode("latin-1")],
        )
        return work(db, session)


def value(db, sql, *values):
    return db.execute(sql, values).fetchone()[0]


# These three return the Set-Cookie header to answer with.


def remember(device):
    """Something to remember of a visitor who has not logged in."""
    sql = "SELECT narvik_create_cookie(token) FROM narvik_create_guest_session(%s)"
    return as_user("", lambda db, _: value(db, sql, Jsonb({"device": device})))


def log_in(header, user_id):
    """After the password was right: the guest's session becomes the user's."""
    sql = "SELECT narvik_create_cookie(token) FROM narvik_promote_session(%s, %s)"
    return as_user(header, lambda db, session: value(db, sql, (session.fetchone() or [None])[0], user_id))


def log_out(header):
    sql = "SELECT narvik_create_blank_cookie(), narvik_invalidate_session(narvik_current_session_id())"
    return as_user(header, lambda db, _: value(db, sql))


# ---- a visit -----------------------------------------------------------------

OTHER = "city=Troms\xf8; "  # whatever else the browser sends


def cookies(set_cookie):
    return OTHER + set_cookie.split(";")[0]


def request(header):
    def work(db, session):
        notes = db.execute("SELECT body FROM notes ORDER BY body")
        return session.fetchone(), notes.fetchall()

    session, notes = as_user(header, work)
    if session is None:
        print("request: nobody")
    else:
        _, user_id, device, set_cookie = session
        print(f"request: {user_id or 'guest'} on a {device}")
        if set_cookie:
            print("set cookie:", set_cookie)
    print("notes:", ", ".join(body for body, in notes) or "none")


request(OTHER)
guest = cookies(remember("laptop"))
request(guest)
set_cookie = log_in(guest, "alice")
print("log in:", set_cookie)
alice = cookies(set_cookie)
request(alice)
# Here twenty of its thirty days go by at once.
sql = "SELECT narvik_update_session_expiry(narvik_current_session_id(), now() + interval '10 days')"
as_user(alice, lambda db, _: db.execute(sql))
request(alice)
request(alice)
print("log out:", log_out(alice))
request(alice)
pool.close()
