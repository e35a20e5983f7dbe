"""Django's sessions in PostgreSQL, kept by narvik.

    SESSION_ENGINE = "django_narvik"

The key in the cookie is made here and stays here: the database is told its
SHA-256, and so is whoever reads the database.
"""

from hashlib import sha256

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.db import DEFAULT_DB_ALIAS, connections

__version__ = "1.0.0"


def session_id(session_key):
    """narvik's id of the session with this key. Cookies may hold anything."""
    if not session_key:
        return None
    return sha256(session_key.encode("utf-8", "surrogatepass")).hexdigest()


class SessionStore(SessionBase):
    # The async methods of SessionBase call these in a thread, except acycle_key.

    # A session that was not stored by save() is not Django's to read, change or end.
    _OURS = "FROM {0}narvik_fetch_session(%s) WHERE jsonb_typeof(data -> 'session_data') = 'string'"

    @classmethod
    def _call(cls, statement, *parameters):
        """The value, if any, of a statement in which {0} stands for the schema of narvik."""
        connection = connections[getattr(settings, "NARVIK_DATABASE", DEFAULT_DB_ALIAS)]
        schema = getattr(settings, "NARVIK_SCHEMA", None)
        prefix = connection.ops.quote_name(schema) + "." if schema else ""
        with connection.cursor() as cursor:
            cursor.execute(statement.format(prefix), parameters)
            row = cursor.fetchone()
            return row and row[0]

    def _user_id(self):
        user_id = self.get(SESSION_KEY)
        return None if user_id is None else str(user_id)

    def load(self):
        data = self._call(
            "SELECT data ->> 'session_data' " + self._OURS + " AND expires_at > statement_timestamp()",
            session_id(self.session_key),
        )
        if data is None:
            self._session_key = None
            return {}
        return self.decode(data)

    def exists(self, session_key):
        return self._call("SELECT true " + self._OURS, session_id(session_key)) is True

    def create(self):
        while True:
            self._session_key = self._get_new_session_key()
            try:
                self.save(must_create=True)
            except CreateError:
                continue
            self.modified = True
            return

    def save(self, must_create=False):
        if self.session_key is None:
            return self.create()
        data = self._get_session(no_load=must_create)
        narvik_id = session_id(self._get_or_create_session_key())
        # An age, not a date: the clock of the server counts, not that of this machine.
        stored = self._call(
            "SELECT {0}narvik_put_session(%s, %s, statement_timestamp() + make_interval(secs => %s),"
            " jsonb_build_object('session_data', %s::text), existing => %s)"
            " WHERE %s OR EXISTS (SELECT " + self._OURS + ")",
            narvik_id,
            self._user_id(),
            self.get_expiry_age(),
            self.encode(data),
            not must_create,
            must_create,
            narvik_id,
        )
        if not stored:
            raise CreateError if must_create else UpdateError

    def delete(self, session_key=None):
        session_key = session_key or self.session_key
        if session_key:
            self._call("SELECT {0}narvik_delete_session(id) " + self._OURS, session_id(session_key))

    def cycle_key(self):
        self._get_session()
        if self.session_key is None:
            return self.create()
        new_key = self._get_new_session_key()
        changed = self._call(
            "SELECT {0}narvik_change_session_id(id, %s) " + self._OURS,
            session_id(new_key),
            session_id(self.session_key),
        )
        if changed:
            self._session_key = new_key
            self.save()
        elif self._user_id() is None:
            self.create()
        # Else somebody has logged this user out: a new session would log them in
        # again. The next save() will find that there is none.
        self.modified = True

    async def acycle_key(self):
        await sync_to_async(self.cycle_key)()

    @classmethod
    def clear_expired(cls):
        cls._call("SELECT {0}narvik_delete_all_expired_sessions()")
