"""What narvik's sessions do that Django's own tests do not ask for."""

import pickle
import threading
from datetime import datetime, timedelta
from unittest import mock

from django.conf import settings
from django.contrib.auth import login, logout, update_session_auth_hash
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.db import ProgrammingError, connection, connections, transaction
from django.db.backends.postgresql.base import Database
from django.http import HttpResponse
from django.test import TestCase, TransactionTestCase, override_settings
from django.urls import path
from django.utils import timezone

from django_narvik import SessionStore, session_id


def ask(statement, *parameters, using="default"):
    with connections[using].cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()


def stored(using="default"):
    return ask(
        "SELECT encode(id, 'hex'), user_id, created_at, expires_at, data FROM stored_sessions()", using=using
    )


def seconds_left():
    ((seconds,),) = ask("SELECT extract(epoch FROM expires_at - statement_timestamp()) FROM stored_sessions()")
    return float(seconds)


def session(**data):
    new = SessionStore()
    new.update(data)
    new.save()
    return new


def log_out_everywhere(user_id):
    ask("SELECT narvik_delete_sessions_for_user(%s)", str(user_id))


def set_item(request):
    request.session["item"] = request.GET["item"]
    return HttpResponse()


def log_in(request):
    login(request, User.objects.get(username="alice"))
    return HttpResponse()


def log_out(request):
    logout(request)
    return HttpResponse()


def logged_out_elsewhere(request):
    request.session["seen"] = True
    log_out_everywhere(request.user.pk)
    return HttpResponse()


def logged_out_elsewhere_while_the_password_changes(request):
    request.session["seen"] = True
    log_out_everywhere(request.user.pk)
    update_session_auth_hash(request, request.user)
    return HttpResponse()


urlpatterns = [
    path(view.__name__, view)
    for view in (set_item, log_in, log_out, logged_out_elsewhere, logged_out_elsewhere_while_the_password_changes)
]


class PickleSerializer:
    def dumps(self, obj):
        return pickle.dumps(obj)

    def loads(self, data):
        return pickle.loads(data)


class NarvikTestCase(TestCase):
    databases = {"default", "other"}


@override_settings(ROOT_URLCONF=__name__)
class VisitTests(NarvikTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice = User.objects.create_user("alice", password="secret")

    def visit(self, view, **parameters):
        return self.client.get("/" + view.__name__, parameters)

    def key(self):
        return self.client.cookies[settings.SESSION_COOKIE_NAME].value

    def test_the_database_never_sees_the_key(self):
        self.visit(set_item, item="a")
        (row,) = stored()
        self.assertEqual(row[0], session_id(self.key()))
        self.assertEqual(ask("SELECT narvik_session_id(%s)", self.key()), [(row[0],)])
        self.assertNotIn(self.key(), str(row))
        with self.assertNumQueries(3) as queries:
            self.visit(set_item, item="b")
            SessionStore(self.key()).exists(self.key())
        self.assertNotIn(self.key(), str(queries.captured_queries))

    def test_a_session_is_the_users_from_login_to_logout(self):
        self.visit(set_item, item="a")
        self.assertEqual([row[1] for row in stored()], [None])
        self.visit(log_in)
        self.assertEqual([row[1] for row in stored()], [str(self.alice.pk)])
        ((of_user,),) = ask("SELECT id FROM narvik_fetch_sessions_for_user(%s)", str(self.alice.pk))
        self.assertEqual(of_user, session_id(self.key()))
        self.visit(log_out)
        self.assertEqual(stored(), [])
        self.visit(set_item, item="b")
        self.assertEqual([row[1] for row in stored()], [None])

    def test_a_key_known_before_the_login_is_worth_nothing_after_it(self):
        self.visit(set_item, item="a")
        guest = self.key()
        ((_, _, created_at, _, _),) = stored()
        self.visit(log_in)
        self.assertNotEqual(self.key(), guest)
        self.assertEqual(SessionStore(guest).load(), {})
        self.assertEqual(SessionStore(self.key())["item"], "a")
        self.assertEqual([row[2] for row in stored()], [created_at])

    def test_a_key_that_was_made_elsewhere_is_not_taken(self):
        self.client.cookies[settings.SESSION_COOKIE_NAME] = "k" * 32
        self.visit(set_item, item="a")
        self.assertNotEqual(self.key(), "k" * 32)
        self.assertEqual([row[0] for row in stored()], [session_id(self.key())])

    def test_a_logout_elsewhere_during_a_request_holds(self):
        for view in (logged_out_elsewhere, logged_out_elsewhere_while_the_password_changes):
            with self.subTest(view=view.__name__):
                self.client.cookies.clear()
                self.visit(log_in)
                self.assertEqual(self.visit(view).status_code, 400)
                self.assertEqual(stored(), [])

    def test_log_out_everywhere_but_here(self):
        self.visit(log_in)
        here = self.key()
        self.client.cookies.clear()
        self.visit(log_in)
        ask("SELECT narvik_delete_sessions_for_user(%s, %s)", str(self.alice.pk), session_id(here))
        self.assertEqual([row[0] for row in stored()], [session_id(here)])

    def test_the_key_is_a_token_that_row_level_security_trusts(self):
        self.visit(log_in)
        with transaction.atomic():
            ask("SELECT narvik_authenticate(%s)", self.key())
            self.assertEqual(ask("SELECT narvik_current_user_id()"), [(str(self.alice.pk),)])


class StoreTests(NarvikTestCase):
    def test_a_session_that_is_gone_is_not_saved(self):
        for data in ({"item": 1}, {"_auth_user_id": "7"}):
            with self.subTest(data=data):
                mine = session(**data)
                SessionStore(mine.session_key).delete()
                with self.assertRaises(UpdateError):
                    mine.save()
                self.assertEqual(stored(), [])

    def test_a_live_session_is_not_created_again(self):
        mine = session(item=1)
        other = SessionStore(mine.session_key)
        with self.assertRaises(CreateError):
            other.save(must_create=True)
        self.assertEqual(SessionStore(mine.session_key)["item"], 1)

    def test_cycle_key_does_not_log_in_again(self):
        mine = session(_auth_user_id="7")
        log_out_everywhere(7)
        mine.cycle_key()
        self.assertEqual(stored(), [])
        self.assertIs(mine.modified, True)
        with self.assertRaises(UpdateError):
            mine.save()

    def test_cycle_key_of_a_guest_whose_session_has_expired_makes_one(self):
        mine = session(item=1)
        SessionStore(mine.session_key).delete()
        mine.cycle_key()
        self.assertEqual(SessionStore(mine.session_key)["item"], 1)

    def test_cycle_key_stores_what_was_not_saved(self):
        mine = session(item=1)
        mine["item"] = 2
        mine.cycle_key()
        self.assertEqual(SessionStore(mine.session_key)["item"], 2)
        self.assertEqual(len(stored()), 1)

    def test_sessions_that_others_made_are_left_alone(self):
        ((token,),) = ask("SELECT token FROM narvik_create_session('7', '{\"role\": \"admin\"}')")
        mine = SessionStore(token)
        self.assertEqual(dict(mine.items()), {})
        mine["item"] = 1
        mine.save()
        self.assertNotEqual(mine.session_key, token)
        self.assertEqual(ask("SELECT user_id, data ->> 'role' FROM narvik_validate_session(%s)", token), [("7", "admin")])

    def test_sessions_that_others_made_are_left_alone_unread(self):
        def save(mine):
            with self.assertRaises(UpdateError):
                mine.save()

        def cycle_key_of_a_user(mine):
            mine["_auth_user_id"] = "8"
            mine.cycle_key()

        for data in ('{"role": "admin"}', '{"session_data": null}', '{"session_data": {"role": "admin"}}'):
            for act in (save, SessionStore.flush, SessionStore.delete, SessionStore.cycle_key, cycle_key_of_a_user):
                with self.subTest(data=data, act=act.__name__):
                    ((key,),) = ask("SELECT token FROM narvik_create_session('7', %s)", data)
                    before = stored()
                    mine = SessionStore(key)
                    mine.clear()
                    act(mine)
                    self.assertEqual([row for row in stored() if row in before], before)
            with self.subTest(data=data):
                self.assertEqual(SessionStore(key).load(), {})
                self.assertIs(SessionStore().exists(key), False)

    def test_clear_expired_leaves_the_live_ones(self):
        mine, old = session(item=1), session(item=2)
        old.set_expiry(-1)
        old.save()
        SessionStore.clear_expired()
        self.assertEqual([row[0] for row in stored()], [session_id(mine.session_key)])

    def test_any_key_is_no_error(self):
        session(item=1)
        for key in ("\0" * 32, "\ud800" * 32, "é" * 32, "'); DROP TABLE x; --", "%s{}" * 8, "k" * 1000000):
            with self.subTest(key=key[:20]):
                mine = SessionStore(key)
                self.assertEqual(mine.load(), {})
                self.assertIs(mine.exists(key), False)
                mine.delete(key)
        self.assertEqual(len(stored()), 1)

    def test_an_empty_key_is_nobodys(self):
        for key in (None, "", "short"):
            self.assertIs(SessionStore(key).exists(key), False)
            SessionStore(key).delete()


class ValueTests(NarvikTestCase):
    def kept(self, data):
        mine = session(**data)
        self.assertEqual(dict(SessionStore(mine.session_key).items()), data)

    def test_any_text_comes_back(self):
        self.kept({"NUL": "a\0b", "a\0b": 1, "lone surrogate": "\ud800", "both": "\U0001f600 é", "": None})

    def test_four_megabytes_come_back(self):
        with open("/dev/urandom", "rb") as random:
            self.kept({"item": random.read(2 * 1024 * 1024).hex()})

    def test_keys_that_are_no_text_become_text_as_json_makes_them(self):
        mine = SessionStore()
        mine[1], mine[None], mine[True] = "one", "none", "true"
        mine.save()
        self.assertEqual(dict(SessionStore(mine.session_key).items()), {"1": "true", "null": "none"})

    @override_settings(SESSION_SERIALIZER=__name__ + ".PickleSerializer")
    def test_with_another_serializer_any_value_comes_back(self):
        self.kept({"binary": bytes(range(256)), "date": datetime(2000, 1, 1), "deep": {1: {2, 3}}})

    def test_what_cannot_be_serialized_is_an_error_and_changes_nothing(self):
        mine = session(item=1)
        mine["item"] = b"\xff"
        with self.assertRaises(TypeError):
            mine.save()
        self.assertEqual(SessionStore(mine.session_key)["item"], 1)

    def test_what_was_changed_in_the_table_is_not_believed(self):
        mine = session(item=1)
        ask("SELECT narvik_update_session_data(%s, '{\"session_data\": \"bad:data\"}')", session_id(mine.session_key))
        self.assertEqual(SessionStore(mine.session_key).load(), {})


# Before 4.1 Django's own serializer did not take a date.
@override_settings(SESSION_SERIALIZER=__name__ + ".PickleSerializer")
class ExpiryTests(NarvikTestCase):
    def test_it_is_what_django_says(self):
        mine = SessionStore()
        for expiry in (None, 0, 600, 61.5, timedelta(hours=1), timezone.now() + timedelta(days=9)):
            for use_tz in (False, True):
                with self.subTest(expiry=expiry, use_tz=use_tz), override_settings(USE_TZ=use_tz):
                    if isinstance(expiry, datetime):
                        expiry = timezone.now() + timedelta(days=9)
                    mine.set_expiry(expiry)
                    mine.save()
                    self.assertAlmostEqual(seconds_left(), mine.get_expiry_age(), delta=30)
                    self.assertAlmostEqual(
                        (mine.get_expiry_date() - timezone.now()).total_seconds(), seconds_left(), delta=30
                    )

    def test_in_the_past_it_ends_the_session(self):
        mine = session(item=1)
        mine.set_expiry(-10)
        mine.save()
        self.assertEqual(SessionStore(mine.session_key).load(), {})
        with self.assertRaises(UpdateError):
            mine.save()

    def test_in_the_past_a_session_can_be_created(self):
        mine = SessionStore()
        mine.set_expiry(timedelta(days=-1))
        mine.save()
        self.assertEqual(SessionStore(mine.session_key).load(), {})

    def test_the_clock_of_the_client_does_not_matter(self):
        real_now = timezone.now
        for wrong in (timedelta(days=-3650), timedelta(days=3650)):
            for expiry in (None, 600, timedelta(seconds=600)):
                with self.subTest(wrong=wrong, expiry=expiry), mock.patch(
                    "django.utils.timezone.now", lambda: real_now() + wrong
                ):
                    mine = SessionStore()
                    mine["item"] = 1
                    mine.set_expiry(expiry)
                    mine.save()
                    self.assertAlmostEqual(seconds_left(), mine.get_expiry_age(), delta=30)
                    self.assertEqual(SessionStore(mine.session_key)["item"], 1)
                    mine.delete()


class SettingsTests(NarvikTestCase):
    @override_settings(NARVIK_DATABASE="other")
    def test_narvik_database(self):
        mine = session(item=1)
        self.assertEqual(SessionStore(mine.session_key)["item"], 1)
        self.assertEqual((stored(), len(stored("other"))), ([], 1))

    def test_narvik_schema(self):
        with override_settings(NARVIK_SCHEMA="public"):
            mine = session(item=1)
            ask("SELECT set_config('search_path', 'pg_catalog', true)")
            self.assertEqual(SessionStore(mine.session_key)["item"], 1)
        with override_settings(NARVIK_SCHEMA='no "such'):
            with self.assertRaisesMessage(ProgrammingError, 'no "such'), transaction.atomic():
                mine.save()


if hasattr(SessionBase, "aload"):

    class AsyncTests(NarvikTestCase):
        async def test_all_methods(self):
            mine = SessionStore()
            await mine.aset("item", 1)
            await mine.asave()
            key = mine.session_key
            self.assertEqual(await SessionStore(key).aload(), {"item": 1})
            await mine.acycle_key()
            self.assertIs(await mine.aexists(key), False)
            self.assertEqual(await SessionStore(mine.session_key).aget("item"), 1)
            await mine.aset_expiry(-10)
            await mine.asave()
            await SessionStore.aclear_expired()
            self.assertIs(await mine.aexists(mine.session_key), False)
            await mine.acreate()
            key = mine.session_key
            await mine.aflush()
            self.assertIs(await mine.aexists(key), False)

        async def test_acycle_key_does_not_log_in_again(self):
            mine = SessionStore()
            await mine.aset("_auth_user_id", "7")
            await mine.asave()
            await SessionStore(mine.session_key).adelete()
            await mine.acycle_key()
            self.assertIs(await mine.aexists(mine.session_key), False)
            with self.assertRaises(UpdateError):
                await mine.asave()


class SeveralConnectionsTests(TransactionTestCase):
    available_apps = ["django.contrib.auth", "django.contrib.contenttypes"]

    def setUp(self):
        ask("SELECT forget_sessions()")

    tearDown = setUp

    def at_once(self, function, arguments):
        """What the function returned or raised for each, in threads that start together."""
        results = {}
        start = threading.Barrier(len(arguments))

        def run(argument):
            try:
                connection.ensure_connection()
                start.wait(timeout=30)
                results[argument] = function(argument)
            except Exception as error:
                results[argument] = type(error)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=run, args=(argument,)) for argument in arguments]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def test_of_many_creations_with_one_key_one_wins(self):
        def create(number):
            mine = SessionStore("k" * 32)
            mine._session_cache = {"item": number}
            mine.save(must_create=True)

        results = self.at_once(create, range(8))
        winner = SessionStore("k" * 32)["item"]
        self.assertEqual(results, {number: None if number == winner else CreateError for number in range(8)})
        self.assertEqual(len(stored()), 1)

    def test_of_many_saves_each_is_whole(self):
        key = session(item=-1).session_key

        def save(number):
            mine = SessionStore(key)
            mine["item"] = mine["same"] = number
            mine.save()

        self.assertEqual(self.at_once(save, range(8)), dict.fromkeys(range(8)))
        data = SessionStore(key).load()
        self.assertIn(data["item"], range(8))
        self.assertEqual(data["same"], data["item"])
        self.assertEqual(len(stored()), 1)

    def test_of_many_new_keys_one_guest_loses_nothing(self):
        key = session(item=1).session_key
        results = self.at_once(lambda _: SessionStore(key).cycle_key(), range(4))
        self.assertEqual(results, dict.fromkeys(range(4)))
        self.assertIs(SessionStore().exists(key), False)

    def test_a_logout_that_commits_while_a_save_waits_for_it_holds(self):
        mine = session(_auth_user_id="7")
        saved = []

        def save():
            try:
                mine.save()
            except Exception as error:
                saved.append(type(error))
            finally:
                connections.close_all()

        thread = threading.Thread(target=save)
        with transaction.atomic():
            log_out_everywhere(7)
            thread.start()
            waits = "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND wait_event_type = 'Lock'"
            while thread.is_alive() and ask(waits) == [(0,)]:
                ask("SELECT pg_stat_clear_snapshot(), pg_sleep(0.01)")
            self.assertTrue(thread.is_alive())
        thread.join()
        self.assertEqual((saved, stored()), ([UpdateError], []))

    def test_sessions_go_with_a_user_of_the_linked_table(self):
        owner = Database.connect(
            host=settings.DATABASES["default"]["HOST"], user="postgres", dbname=connection.settings_dict["NAME"]
        )
        self.addCleanup(owner.close)
        owner.autocommit = True
        owner.cursor().execute("SELECT narvik_link_users('auth_user')")
        self.addCleanup(owner.cursor().execute, "SELECT narvik_unlink_users()")
        user = User.objects.create_user("alice")
        mine, guest = session(_auth_user_id=str(user.pk)), session(item=1)
        user.delete()
        with self.assertRaises(UpdateError):
            mine.save()
        self.assertEqual([row[0] for row in stored()], [session_id(guest.session_key)])
