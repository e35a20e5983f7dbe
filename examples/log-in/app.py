"""Sign-up, log-in and log-out.  Any WSGI server runs it, in threads too."""

import os
from html import escape
from urllib.parse import parse_qsl

from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

ORIGIN = os.environ.get("ORIGIN", "http://localhost:8000")  # what browsers have in their address bar
pool = ConnectionPool()  # connects as PGHOST, PGDATABASE, PGUSER and PGPASSWORD say

BUTTON = '<form method="post" action="/{0}"><button>{0}</button></form>'
FIELDS = (
    '<form method="post" action="/{0}"><h2>{0}</h2><label>name <input name="name"></label> '
    '<label>password <input name="password" type="password"></label> <button>{0}</button></form>'
)
LOG_IN = """SELECT narvik_create_cookie(s.token)
    FROM {}(%s, %s) AS user_id, narvik_promote_session(%s, user_id::text, %s) AS s"""


def row(db, sql, *values):
    return db.execute(sql, values).fetchone()


def respond(db, environ, path, form, attempt):
    """In the transaction of the request: the status, the page and the cookie to send."""
    header = environ.get("HTTP_COOKIE", "").encode("latin-1")
    me = row(db, "SELECT token, id, user_id, set_cookie FROM narvik_authenticate_cookie(%s)", header)
    token, session_id, user_id, cookie = me or (None, None, None, None)
    done, page = "303 See Other", ""
    if path in ("POST /sign-up", "POST /log-in"):
        check = {"POST /sign-up": "sign_up", "POST /log-in": "check_password"}[path]
        device = Jsonb({"device": environ.get("HTTP_USER_AGENT", "")[:200]})
        made = row(db, LOG_IN.format(check), attempt, form.get("password", ""), token, device)
        if not made:
            return "403 Forbidden", 'That did not work. <a href="/">Try again</a>', cookie
        cookie = made[0]
    elif path == "POST /log-out" and me:
        cookie = row(db, "SELECT narvik_create_blank_cookie(), narvik_invalidate_session(%s)", session_id)[0]
    elif path == "POST /log-out-everywhere" and user_id:
        cookie = row(db, "SELECT narvik_create_blank_cookie(), narvik_delete_sessions_for_user(%s)", user_id)[0]
    elif path == "GET /" and user_id:
        name = row(db, "SELECT name FROM app_users WHERE id = %s::bigint", user_id)[0]
        done, page = "200 OK", f"<h1>Hello {escape(name)}</h1>" + BUTTON.format("log-out") + BUTTON.format("log-out-everywhere")
    elif path == "GET /":
        done, page = "200 OK", FIELDS.format("log-in") + FIELDS.format("sign-up")
    return done, page, cookie


def app(environ, start_response):
    path, cookie = environ["REQUEST_METHOD"] + " " + environ["PATH_INFO"], None
    length = max(0, min(int(environ.get("CONTENT_LENGTH") or 0), 4096))
    form = environ["wsgi.input"].read(length).decode("utf-8", "replace")
    form = {name: value.replace("\0", "") for name, value in parse_qsl(form)}
    address = environ["REMOTE_ADDR"].partition("%")[0]  # without the zone of fe80::1%eth0
    attempt = None
    if path.startswith("POST ") and environ.get("HTTP_ORIGIN") != ORIGIN:
        status, page = "403 Forbidden", "This form is of another site."
    else:
        if path in ("POST /sign-up", "POST /log-in"):
            with pool.connection() as db:  # a transaction of its own: it counts, whatever comes of it
                attempt = row(db, "SELECT begin_try(%s, %s)", form.get("name", ""), address)
        if path in ("POST /sign-up", "POST /log-in") and not attempt:
            status, page = "429 Too Many Requests", "Too many tries. Wait ten minutes."
        else:
            with pool.connection() as db:
                status, page, cookie = respond(db, environ, path, form, attempt and attempt[0])
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store")]
    headers += [("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'")]
    headers += [("Location", "/")] if status.startswith("303") else []
    headers += [("Set-Cookie", cookie)] if cookie else []
    start_response(status, headers)  # nothing is sent before the transaction has committed
    return [f"<!DOCTYPE html><title>narvik</title>{page}".encode()]
