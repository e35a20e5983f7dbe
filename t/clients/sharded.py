# Follows the functions of examples/clients/sharded.py, in place of its visit: eight
# users log in, ask and log out, while a fourth shard joins.  Prints a line "ok ..." or
# "not ok ..." for each thing held.
import os
import subprocess

wrong, failed, alive, done = [], [], [], []
moved = None


def move():
    host = "host=" + os.environ["PGHOST"]
    command = ["../plproxy/move-partitions", host + " dbname=shard3", host + " dbname=router", *map(str, range(3, 64, 4))]
    out = subprocess.run(command, env={**os.environ, "PGUSER": "postgres"}, check=True, capture_output=True, text=True).stdout
    return sum(map(int, re.findall(r": (\d+) sessions", out)))


def expect_user(token, user):
    found = (validate(token) or [None])[0]
    if found != user:
        wrong.append(f"{found} instead of {user}")


def visit(user):
    live, dead, more, log_ins = [], [], 30, 0
    while more > 0:
        more -= moved is not None
        live.append(log_in(user)[0])
        for token in live[-20:]:
            expect_user(token, user)
        for token in dead[-5:]:
            expect_user(token, None)
        log_ins += 1
        if log_ins % 3 == 0:
            dead.append(live.pop(0))
            if not log_out(dead[-1]):
                wrong.append(f"{user} was not there to be logged out")
        done.append(user)
    alive.extend((token, user) for token in live)


def visitor(user):
    try:
        visit(user)
    except Exception as error:
        failed.append(str(error))


before = ask(router, "SELECT count(*) FROM narvik_router.map WHERE shard LIKE '%%shard3'")[0][0]
threads = [threading.Thread(target=visitor, args=(f"user {i}",)) for i in range(8)]
for thread in threads:
    thread.start()
while len(done) < 200 and len(failed) < 8:
    time.sleep(0.01)
try:
    moved = move()
except Exception as error:
    moved = 0
    failed.append(str(error))
for thread in threads:
    thread.join()
for token, user in alive:
    expect_user(token, user)
shards = [shard for shard in pools if shard]
close()


def told(good, what, examples=()):
    print("ok" if good else "not ok", what, *examples[:3])


told(before == 0, "the fourth shard was not in the map")
told(moved > 0, f"{moved} sessions moved to it")
told(not failed, f"{len(failed)} of the callers got an error", failed)
told(not wrong, f"{len(wrong)} wrong answers", wrong)
told(len(alive) > 100, f"{len(alive)} sessions live")
told(len(shards) == 4, f"{len(shards)} shards were asked directly")
