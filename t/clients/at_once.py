# Follows the functions of examples/clients/python.py, in place of its visit:
# two users in eight threads, requests that fail, connections that break, a server
# that restarts.  Prints a line "ok ..." or "not ok ..." for each thing held.
import logging
import os
import subprocess
import threading
import time

logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # it tells of broken connections
cookies = {user: log_in("", user).split(";")[0] for user in ("alice", "bob")}
cookies["nobody"] = ""
expected = {"alice": ["alice", "alice"], "bob": ["bob"], "nobody": []}
answered, foreign, lost, unknown, late = [], [], [], [], []
began = restarted = False
end = time.monotonic() + 120


def restart():
    global began, restarted
    began = True
    log = os.environ["PGDATA"] + "/../server.log"
    subprocess.run(["pg_ctl", "-s", "-w", "-m", "fast", "-l", log, "restart"], check=True)
    restarted = True


def fail(db, _):
    raise RuntimeError("on purpose")


def break_connection(db, _):
    db.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def must_fail(user, work, message):
    try:
        as_user(cookies[user], work)
        unknown.append(f"no error instead of {message}")
    except Exception as error:
        if message not in str(error) and not began:
            unknown.append(error)


def request(user):
    while True:
        after = restarted
        try:
            rows = as_user(cookies[user], lambda db, _: db.execute("SELECT owner FROM notes").fetchall())
            (answered if [owner for owner, in rows] == expected[user] else foreign).append((user, rows))
            return
        except Exception as error:
            if after:
                late.append(error)
            if not began or time.monotonic() > end:
                lost.append(error)
                return
        time.sleep(0.05)  # and the user loads the page again


def visitor(user, restarts):
    for i in range(75):
        if restarts and i == 37:
            restart()
        if i % 10 == 3:
            must_fail(user, fail, "on purpose")
        if i % 50 == 7:
            must_fail(user, break_connection, "connection")
        request("nobody" if i % 5 == 0 else user)


threads = [threading.Thread(target=visitor, args=(user, i == 0)) for i, user in enumerate(("alice", "bob") * 4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
pool.close()


def told(good, what, examples):
    print("ok" if good else "not ok", what, *examples[:3])


told(restarted, "the server was restarted in the middle", [])
told(not foreign, f"{len(foreign)} of 600 requests saw other rows than their user's", foreign)
told(len(answered) + len(foreign) == 600, f"{len(lost)} of 600 requests got no answer, because another had failed", lost)
told(len(late) <= 10, f"{len(late)} requests failed after the restart, a connection at most one", late)
told(not unknown, f"{len(unknown)} failures did not reach the caller", unknown)
