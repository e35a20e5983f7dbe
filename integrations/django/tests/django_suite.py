"""Django's own sessions_tests, with narvik in place of Django's table.

Of their classes these are the ones that take any engine; the others test Django's
other engines. What DatabaseSessionTests ask of a model is answered by a stand-in.
"""

from asgiref.sync import sync_to_async
from django.db import connection
from sessions_tests import tests

from django_narvik import SessionStore


class StoredSession:
    def __init__(self, session_key):
        self.session_key = session_key

    def get_decoded(self):
        return SessionStore(self.session_key).load()


class StoredSessions:
    @staticmethod
    def count():
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM stored_sessions()")
            return cursor.fetchone()[0]

    async def acount(self):
        return await sync_to_async(self.count)()

    @staticmethod
    def get(session_key):
        assert SessionStore().exists(session_key)
        return StoredSession(session_key)


class Model:
    objects = StoredSessions()


tests.DatabaseSession = SessionStore
tests.Session = Model


class NarvikSessionTests(tests.DatabaseSessionTests):
    backend = SessionStore
    session_engine = "django_narvik"
    model = Model

    # What a model's __str__() says, and what its manager's save() does: there is none.
    test_session_str = test_sessionmanager_save = None


class NarvikSessionWithTimeZoneTests(NarvikSessionTests, tests.DatabaseSessionWithTimeZoneTests):
    pass


class NarvikMiddlewareTests(tests.SessionMiddlewareTests):
    pass
