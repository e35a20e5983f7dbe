<?php
// Laravel's own session store above narvik's handler.  Says "ok" or "not ok" of each thing.
declare(strict_types=1);

require 'Illuminate/Session/autoload.php';
require __DIR__ . '/../src/NarvikSessionHandler.php';

$user = null;
$db = new PDO('pgsql:');
$handler = new Narvik\NarvikSessionHandler($db, function () use (&$user) {
    return $user;
}, 120 * 60);

/** A request with this session cookie. */
function request(?string $id = null): Illuminate\Session\Store
{
    global $handler;
    $store = new Illuminate\Session\Store('laravel_session', $handler, $id);
    $store->start();
    return $store;
}

function is(string $what, mixed $expected, mixed $got): void
{
    echo $got === $expected ? "ok - $what\n" : "not ok - $what\n# got " . var_export($got, true) . "\n";
}

function sessions(string $user): array
{
    global $db;
    return $db->query("SELECT id, expires_at - now() > '119 min' AS long FROM narvik_fetch_sessions_for_user('$user')")->fetchAll();
}

$guest = request();
$guest->put('cart', [7]);
$guest->flash('status', 'saved');
$guest->save();
$next = request($guest->getId());
is('what a guest puts in is there in the next request', [7], $next->get('cart'));
is('so is what was flashed', 'saved', $next->get('status'));
$next->save();
is('the one after it has lost the flash', null, request($guest->getId())->get('status'));

$visit = request($guest->getId());
$visit->regenerate(true);
$user = 42;
$visit->save();
is('log-in carries the data over', [7], request($visit->getId())->get('cart'));
is('the guest id is dead', null, request($guest->getId())->get('cart'));
is('the session is the user\'s', 1, count(sessions('42')));
is('the lifetime is the one that was asked for', true, sessions('42')[0]['long']);
is('its CSRF token stays the same', $visit->token(), request($visit->getId())->token());

$late = request($visit->getId());
$db->query("SELECT narvik_delete_sessions_for_user('42')");
$late->put('late', 'yes');
$late->save();
is('what was ended meanwhile is not revived', 0, count(sessions('42')));

$last = request();
$last->put('a', 'b');
$last->save();
$old = $last->getId();
$last->invalidate();
$last->save();
is('invalidate() empties the session', null, request($last->getId())->get('a'));
is('and ends the old one', null, request($old)->get('a'));
