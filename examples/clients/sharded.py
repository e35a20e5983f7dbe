# Sessions on several shards from Python, with the driver psycopg 3 and its pool: what
# each request does goes to the shard itself, the rest to a router.  See
# docs/scaling.md, "Without a router".
# Connects as PGHOST, PGDATABASE, PGUSER and so on say to the router, and as PGUSER to
# the shards that its map names.
import hashlib
import re
import threading
import time

from psycopg.errors import SerializationFailure
from psycopg_pool import ConnectionPool

pools = {}  # by connection string
partitions = None  # the shard of each
lock = threading.Lock()


def pool_of(shard):
    with lock:
        if shard not in pools:
            pools[shard] = ConnectionPool(shard)
        return pools[shard]


def ask(pool, sql, *values):
    with pool.connection() as db:
        return db.execute(sql, values).fetchall()


router = pool_of("")


def repeated(work):
    """While a partition moves, and when it has moved, calls fail with 40001: fetch the
    map again, and repeat.  After any other error the next call fetches it, too: that
    shard may have been replaced.
    """
    global partitions
    for tries in range(40):
        try:
            known = partitions
            if not known:
                known = [shard for shard, in ask(router, "SELECT shard FROM narvik_router.map ORDER BY partition")]
                partitions = known
            return work(known)
        except Exception as error:
            partitions = None
            if not isinstance(error, SerializationFailure) or tries == 39:
                raise
        time.sleep(0.05)


def on_shard(session_id, sql, *values):
    """The id is the token's SHA-256, and its last byte tells the partition."""
    return repeated(lambda shards: ask(pool_of(shards[session_id[-1] % len(shards)]), sql, *values))


def on_router(sql, *values):
    return repeated(lambda _: ask(router, sql, *values))


def id_of(token):
    return hashlib.sha256(token.encode()).digest()


def validate(token):
    """The user and the cookie to answer with, if the session was extended."""
    if not re.fullmatch("[a-z2-7]{32}", token or ""):
        return None
    sql = "SELECT user_id, extended FROM narvik_shard.narvik_validate_session(%s)"
    for user_id, extended in on_shard(id_of(token), sql, token):
        return user_id, on_router("SELECT narvik_create_cookie(%s)", token)[0][0] if extended else None


def log_in(user_id):
    """The token and the cookie to answer with."""
    return on_router("SELECT token, narvik_create_cookie(token) FROM narvik_create_session(%s)", user_id)[0]


def log_out(token):
    session_id = id_of(token)
    sql = "SELECT narvik_shard.narvik_invalidate_session(%s)"
    return on_shard(session_id, sql, session_id.hex())[0][0]


def close():
    for pool in pools.values():
        pool.close()


# ---- a visit -----------------------------------------------------------------

token, set_cookie = log_in("alice")
print("request:", (validate(token) or ["nobody"])[0])
print("log out:", "done" if log_out(token) else "nobody")
print("request:", (validate(token) or ["nobody"])[0])
close()
