# Uses examples/log-in/app.py as browsers do, and as attackers.  Prints a line
# "ok ..." or "not ok ..." for each thing held.
import http.client
import io
import os
import socket
import subprocess
import threading
from urllib.parse import urlencode

import app
import psycopg

# It inherits a socket that listens already, so what asks it too early waits for it.
with socket.create_server(("127.0.0.1", 0)) as listening:
    port = listening.getsockname()[1]
    ORIGIN = f"http://localhost:{port}"
    server = subprocess.Popen(
        ["gunicorn", "--log-level", "warning", "--threads", "30", "--bind", f"fd://{listening.fileno()}", "app:app"],
        env={**os.environ, "ORIGIN": ORIGIN},
        pass_fds=[listening.fileno()],
    )
database = psycopg.connect(autocommit=True)  # as the application
superuser = psycopg.connect(user="postgres", autocommit=True)


def told(what, good, *seen):
    print("ok" if good else "not ok", what, *([] if good else seen))


class Browser:
    def __init__(self):
        self.cookie = None

    def ask(self, method, path, origin=ORIGIN, **form):
        headers = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "a browser"}
        if origin:
            headers["Origin"] = origin
        if self.cookie:
            headers["Cookie"] = "theme=d\xf8rk; " + self.cookie
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request(method, path, urlencode(form), headers)
        answer = connection.getresponse()
        self.headers, self.page = answer.headers, answer.read().decode()
        if answer.headers["Set-Cookie"]:
            self.cookie = answer.headers["Set-Cookie"].split(";")[0]
        connection.close()
        return answer.status

    def get(self):
        self.ask("GET", "/", origin=None)
        return self.page

    def post(self, path, **form):
        return self.ask("POST", path, **form)


def forget_tries():
    superuser.execute("TRUNCATE app_tries")


def count(sql):
    return superuser.execute(sql).fetchone()[0]


told("the application answers", "log-in" in Browser().get())

# ---- a visit -----------------------------------------------------------------

laptop, phone = Browser(), Browser()
told("sign-up goes on to the first page", laptop.post("/sign-up", name="carol", password="carol's password") == 303)
told("as the user", "Hello carol" in laptop.get(), laptop.page)
set_cookie = laptop.headers["Set-Cookie"]
told("which sends no cookie again", set_cookie is None, set_cookie)
told("a taken name", Browser().post("/sign-up", name="carol", password="another password") == 403)
told("a short password", Browser().post("/sign-up", name="dave", password="short") == 403)
told("a password that bcrypt would cut", Browser().post("/sign-up", name="dave", password="x" * 73) == 403)
told("a name that is markup", Browser().post("/sign-up", name="<b>dave</b>", password="dave's password") == 403)
told("characters that no text has", Browser().post("/sign-up", name="da\0ve\ud800".encode("utf-8", "surrogatepass"), password="dave's\0") == 403)
told("a wrong password", phone.post("/log-in", name="carol", password="a guess") == 403)
told("logs nobody in", "Hello" not in phone.get())
told("nor does an unknown name", phone.post("/log-in", name="nobody", password="a guess") == 403)
told("the right password", phone.post("/log-in", name="carol", password="carol's password") == 303)
told("logs in", "Hello carol" in phone.get())
cookie = phone.headers["Set-Cookie"]

stolen = Browser()
stolen.cookie = phone.cookie
phone.post("/log-out")
told("log-out ends the session", "Hello" not in stolen.get())
told("takes the cookie away", phone.cookie == "narvik_session=", phone.cookie)
told("and no other session", "Hello carol" in laptop.get())
phone.post("/log-in", name="carol", password="carol's password")
told("the cookie is good for http", "HttpOnly" in phone.headers["Set-Cookie"] and "Secure" not in phone.headers["Set-Cookie"])
tablet = Browser()
tablet.post("/log-in", name="carol", password="carol's password")
tablet.post("/log-out-everywhere")
told("log-out everywhere ends all", "Hello" not in laptop.get() + phone.get() + tablet.get())
told("without a session it does nothing", Browser().post("/log-out-everywhere") == 303 and Browser().post("/log-out") == 303)

# ---- attacks -----------------------------------------------------------------

planted = Browser()
planted.cookie = phone.cookie
phone.post("/log-in", name="carol", password="carol's password")
told("the token from before log-in is worth nothing", "Hello" not in planted.get() and "Hello carol" in phone.get())
for origin in (None, "null", "https://evil.example", f"https://localhost:{port}", "http://localhost"):
    told(f"a form of {origin} is refused", phone.ask("POST", "/log-out-everywhere", origin=origin) == 403)
told("and does nothing", "Hello carol" in phone.get())

forget_tries()
statuses = []
threads = [
    threading.Thread(target=lambda: statuses.append(Browser().post("/log-in", name="carol", password="a guess")))
    for _ in range(60)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
told("of 60 guesses at once 20 are looked at", sorted(statuses) == [403] * 20 + [429] * 40, sorted(statuses))
told("the others leave nothing", count("SELECT count(*) FROM app_tries") == 20)
users = count("SELECT count(*) FROM app_users")
told("nor are there new accounts from there", Browser().post("/sign-up", name="erin", password="erin's password") == 429)
told("not one", count("SELECT count(*) FROM app_users") == users)
forget_tries()
statuses = [Browser().post("/sign-up", name=f"robot-{i}", password="robot's password") for i in range(25)]
told("an address makes 20 accounts", statuses == [303] * 20 + [429] * 5, statuses)


def allowed(name, address):
    return database.execute("SELECT begin_try(%s, %s)", [name, address]).fetchone() is not None


def called(**environ):
    """As by a server that checks less than gunicorn: the status, and how much of the body was read."""
    body, statuses = io.BytesIO(b"name=carol&password=a+guess&" + b"x" * 10000), []
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/log-in", "HTTP_ORIGIN": app.ORIGIN, "wsgi.input": body, **environ}
    try:
        app.app(environ, lambda status, headers: statuses.append(status[:3]))
    except Exception as error:
        statuses.append(error)
    return statuses, body.tell()


forget_tries()
seen = called(REMOTE_ADDR="fe80::1%eth0", CONTENT_LENGTH="27")
told("an address with a zone is one", seen == (["403"], 27), seen)
for length, octets in (("-1", 0), ("", 0), ("100000", 4096)):
    seen = called(REMOTE_ADDR="203.0.113.9", CONTENT_LENGTH=length)
    told(f"of a body that says {length or 'nothing'} are read {octets}", seen == (["403"], octets), seen)

forget_tries()
told("guesses from 120 networks count together", sum(allowed("carol", f"198.51.100.{i}") for i in range(120)) == 100)
told("and do not lock the user out at home", allowed("carol", "127.0.0.1"))
told("nor anybody else", allowed("alice", "198.51.100.199"))
forget_tries()
for i in range(19):
    allowed(f"user-{i}", "203.0.113.1")
with psycopg.connect() as first:
    twentieth = first.execute("SELECT begin_try('alice', '203.0.113.1')").fetchone()
    meanwhile = []
    second = threading.Thread(target=lambda: meanwhile.append(allowed("bob", "203.0.113.1")))
    second.start()
    second.join(2)
    told("a try waits for the one before it", meanwhile == [], meanwhile)
    first.commit()
    second.join()
told("and counts it", twentieth and meanwhile == [False], twentieth, meanwhile)
forget_tries()
told("a /64 is one network", sum(allowed(f"user-{i}", f"2001:db8::{i:x}:1") for i in range(40)) == 20)
told("the next /64 is another", allowed("user", "2001:db8:0:1::1"))
forget_tries()
told("who guesses at a name on one network", sum(allowed("alice", "203.0.113.1") for _ in range(40)) == 20)
told("does not keep the user out on another", allowed("alice", "203.0.113.2"))
forget_tries()
told("IPv4 in its IPv6 form is one network", sum(allowed("alice", f"{p}203.0.113.1") for p in ("", "::ffff:") * 20) == 20)
told("its neighbour is another", allowed("alice", "::ffff:203.0.113.2"))
for table in ("app_passwords", "app_tries", "app_networks", "narvik.narvik_sessions"):
    try:
        database.execute(f"TABLE {table}")
        told(f"the application cannot read {table}", False)
    except psycopg.errors.InsufficientPrivilege:
        told(f"the application cannot read {table}", True)

app.pool.close()
database.close()
superuser.close()
server.terminate()
told("the application ends", server.wait(30) == 0)
