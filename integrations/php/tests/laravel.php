<?php
// Laravel's own session store above narvik's handler.  Says "ok" or "not ok" of each thing.
declare(strict_types=1);

require 'Illuminate/Session/autoload.php';
require 'Illuminate/Database/autoload.php';
require __DIR__ . '/../src/NarvikSessionHandler.php';

$user = null;
$db = new PDO('pgsql:');
$handler = new Narvik\NarvikSessionHandler($db, function () use (&$user) {
    return $user;
}, 120 * 60);

/** A request with this session cookie, in another process if it has another handler. */
function request(?string $id = null, ?SessionHandlerInterface $other = null): Illuminate\Session\Store
{
    global $handler;
    $store = new Illuminate\Session\Store('laravel_session', $other ?? $handler, $id);
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

foreach ([true, false] as $destroy) {
    $how = 'regenerate(' . var_export($destroy, true) . ')';
    $first = request();
    $first->put('cart', [8]);
    $first->save();
    $next = request($first->getId());
    $next->regenerate($destroy);
    $next->save();
    is("$how keeps the data", [8], request($next->getId())->get('cart'));
    $late = request($next->getId());
    $db->query("SELECT narvik_delete_sessions_for_user('42')");
    $late->regenerate($destroy);
    $late->save();
    is("what was ended meanwhile is not revived by $how", 0, count(sessions('42')));
    is("nor its data by $how", null, request($late->getId())->get('cart'));
    $next = request($late->getId());
    $next->regenerate($destroy);
    $next->save();
    is("the worker's next request can log in with $how", 1, count(sessions('42')));
    $db->query("SELECT narvik_delete_sessions_for_user('42')");
}

$user = null;
$guest = request();
$guest->save();
$late = request($guest->getId());
$db->query("SELECT narvik_delete_session('" . hash('sha256', $guest->getId()) . "')");
$late->regenerate(true);
$user = 43;
$late->save();
is('a guest whose session ended meanwhile can log in', 1, count(sessions('43')));

$user = null;
$one = request();
$other = request($one->getId(), new Narvik\NarvikSessionHandler(new PDO('pgsql:')));
$one->put('a', 'b');
$one->save();
$other->put('c', 'd');
$other->save();
is('of two first requests at once, the last one that ends wins', 'd', request($one->getId())->get('c'));

$last = request();
$last->put('a', 'b');
$last->save();
$old = $last->getId();
$last->invalidate();
$last->save();
is('invalidate() empties the session', null, request($last->getId())->get('a'));
is('and ends the old one', null, request($old)->get('a'));

// A worker that lives on, with README's function and Laravel's own connections.
$capsule = new Illuminate\Database\Capsule\Manager();
$capsule->addConnection(['driver' => 'pgsql', 'host' => getenv('PGHOST'), 'database' => getenv('PGDATABASE'),
    'username' => getenv('PGUSER'), 'password' => ''], 'sessions');
$connections = $capsule->getDatabaseManager();
$handler = new Narvik\NarvikSessionHandler(
    fn () => $connections->connection('sessions')->getPdo() ?? $connections->reconnect('sessions')->getPdo());
$before = request();
$before->put('a', 'b');
$before->save();
$pid = $connections->connection('sessions')->getPdo()->query('SELECT pg_backend_pid()')->fetchColumn();
$db->query("SELECT pg_terminate_backend($pid, 10000)");
try {
    $failed = !request($before->getId());
} catch (PDOException) {
    $failed = true;
}
is('a request fails whose connection is gone', true, $failed);
// As Octane's DisconnectFromDatabases does after each request.
$connections->connection('sessions')->disconnect();
is('the next one has another connection', 'b', request($before->getId())->get('a'));
