# Follows the functions of examples/clients/python.py, in place of its visit:
# several users at once, requests that fail, connections that break.  Prints a
# line "ok ..." or "not ok ..." for each thing held.
import logging
import threading

logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it tells of broken connections
cookies = {user: log_in("", user).split(";")[0] for user in ("alice", "bob")}
cookies["nobody"] = ""
expected = {"alice": ["alice", "alice"], "bob": ["bob"], "nobody": []}
answered, foreign, lost, unknown = [], [], [], []


def fail(db, _):
    raise RuntimeError("on purpose")


def break_connection(db, _):
    db.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def must_fail(user, work, message):
    try:
        as_user(cookies[user], work)
        unknown.append(f"no error instead of {message}")
    except Exception as error:
        if message not in str(error):
            unknown.append(error)


def request(user):
    try:
        rows = as_user(cookies[user], lambda db, _: db.execute("SELECT owner FROM notes").fetchall())
        (answered if [owner for owner, in rows] == expected[user] else foreign).append((user, rows))
    except Exception as error:
        lost.append(error)


def visitor(user):
    for i in range(150):
        if i % 10 == 3:
            must_fail(user, fail, "on purpose")
        if i % 50 == 7:
            must_fail(user, break_connection, "connection")
        request("nobody" if i % 5 == 0 else user)


threads = [threading.Thread(target=visitor, args=(user,)) for user in ("alice", "bob", "alice", "bob")]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
pool.close()



def told(good, what, examples):
    print("ok" if good else "not ok", what, *examples[:3])


told(not foreign, f"{len(foreign)} of 600 requests saw other rows than their user's", foreign)
told(len(answered) + len(foreign) == 600, f"{len(lost)} of 600 requests got no answer, because another had failed", lost)
told(not unknown, f"{len(unknown)} failures did not reach the caller", unknown)
