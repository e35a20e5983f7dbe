<?php
// The handler by itself, called as PHP calls it.  Says "ok" or "not ok" of each thing.
declare(strict_types=1);

require __DIR__ . '/../src/NarvikSessionHandler.php';

use Narvik\NarvikSessionHandler;

// Deprecations of newer versions of PHP, too.
set_error_handler(fn (int $level, string $message) => throw new ErrorException($message));

$db = new PDO('pgsql:');

function is(string $what, mixed $expected, mixed $got): void
{
    echo $got === $expected ? "ok - $what\n" : "not ok - $what\n# got " . var_export($got, true) . "\n";
}

/** The class of what it throws, or what it returns. */
function outcome(callable $call): mixed
{
    try {
        return $call();
    } catch (Throwable $thrown) {
        return $thrown::class;
    }
}

function stored(string $id): array|false
{
    global $db;
    $statement = $db->prepare('SELECT * FROM narvik_fetch_session(?)');
    $statement->execute([hash('sha256', $id)]);
    return $statement->fetch(PDO::FETCH_ASSOC);
}

// ---- sessions of others -----------------------------------------------------

$shop = new NarvikSessionHandler($db, fn () => 'alice', null, 'shop');
$shop->write('of the shop', 'cart');
is('a session is stored under its namespace', '{"shop": "' . base64_encode('cart') . '"}', stored('of the shop')['data']);
$others = [
    'narvik_create_session' => $db->query("SELECT token FROM narvik_create_session('alice', '{\"theme\": \"dark\"}')")->fetchColumn(),
    'another namespace' => 'of the shop',
];
foreach ($others as $whose => $id) {
    $before = stored($id);
    $handler = new NarvikSessionHandler($db, fn () => 'mallory', 1000000);
    is("there is no session of $whose", false, $handler->validateId($id));
    is("and nothing to read in one of $whose", '', $handler->read($id));
    $handler->updateTimestamp($id, '');
    is("one of $whose is not extended", $before, stored($id));
    is("nor written, which is a failure, of $whose", false, $handler->write($id, 'mine'));
    is("and changes nothing, of $whose", $before, stored($id));
    (new NarvikSessionHandler($db))->write($id, 'mine');
    is("also where it was not read, of $whose", $before, stored($id));
    $handler->destroy($id);
    is("nor deleted, of $whose", $before, stored($id));
}
is('whose it is, reads it', 'cart', $shop->read('of the shop'));
$shop->destroy('of the shop');
is('and deletes it', false, stored('of the shop'));

$digit = new NarvikSessionHandler($db, null, null, '0');
$digit->write('of 0', 'data');
is('a namespace may be a digit', 'data', $digit->read('of 0'));

// PDO would cut at the NUL, and the rest is the namespace of others.
$cut = new NarvikSessionHandler($db, null, null, "0\0cut");
is('a namespace with NUL reads nothing', UnexpectedValueException::class, outcome(fn () => $cut->read('of 0')));
is('nor does it end anything', UnexpectedValueException::class, outcome(fn () => $cut->destroy('of 0')));
is('so what it would be without the rest is safe', 'data', $digit->read('of 0'));
$digit->write("of\0", 'NUL');
is('an id with NUL is another one than without', '', $digit->read('of'));
is('and has its session', 'NUL', $digit->read("of\0"));

// ---- whose session it is ----------------------------------------------------

$user = null;
$handler = new NarvikSessionHandler($db, function () use (&$user) {
    return $user;
});
foreach ([[null, null], [false, null], ['', null], [0, '0'], [7, '7'], ['0', '0'], ['bob', 'bob']] as [$user, $expected]) {
    $handler->write('whose', 'data');
    is('of ' . var_export($user, true) . ' is the session of ' . ($expected ?? 'a guest'), $expected, stored('whose')['user_id']);
}
foreach ([true, 1.5, ['bob'], new stdClass(), "alice\0mallory", "\0"] as $user) {
    is('of ' . json_encode($user) . ' is none', UnexpectedValueException::class, outcome(fn () => $handler->write('whose', 'changed')));
}
is('which changes nothing', ['bob', 'data'], [stored('whose')['user_id'], $handler->read('whose')]);

// ---- another connection -----------------------------------------------------

is('the driver is told to prepare nothing, by the name that this PHP has for it', 1000,
    (new ReflectionClassConstant(NarvikSessionHandler::class, 'DISABLE_PREPARES'))->getValue());
$asked = 0;
$current = $db;
$handler = new NarvikSessionHandler(function () use (&$asked, &$current) {
    $asked++;
    return $current;
});
is('a function is not asked for a connection before there is a query', 0, $asked);
$current = new PDO('pgsql:');
$handler->write('of a worker', 'data');
is('then it is', 1, $asked);
$db->query("SELECT pg_terminate_backend({$current->query('SELECT pg_backend_pid()')->fetchColumn()}, 10000)");
is('a connection that is gone is an error', PDOException::class, outcome(fn () => $handler->read('of a worker')));
$current = new PDO('pgsql:');
is('with another one the same handler works on', 'data', $handler->read('of a worker'));

$silent = new PDO('pgsql:', options: [PDO::ATTR_ERRMODE => PDO::ERRMODE_SILENT]);
is('a connection has to throw', InvalidArgumentException::class, outcome(fn () => new NarvikSessionHandler($silent)));
$current = $silent;
is('one from a function, too', InvalidArgumentException::class, outcome(fn () => $handler->read('of a worker')));

// As some frameworks set it: what is fetched is text.
$text = new PDO('pgsql:', options: [PDO::ATTR_STRINGIFY_FETCHES => true]);
$user = null;
$new = fn () => new NarvikSessionHandler($text, fn () => $GLOBALS['user']);
$new()->write('text', 'guest');
$handler = $new();
is('a guest\'s session is found as text', 'guest', outcome(fn () => $handler->read('text')));
$db->query("SELECT narvik_delete_session('" . hash('sha256', 'text') . "')");
$handler->write('text', 'late');
is('what was ended meanwhile stays so', false, stored('text'));
$user = 'dave';
$handler->write('renewed', 'dave');
is('a guest whose session is gone can log in', 'dave', stored('renewed')['user_id'] ?? null);
$handler = $new();
is('a user\'s session is found as text', 'dave', outcome(fn () => $handler->read('renewed')));
$db->query("SELECT narvik_delete_sessions_for_user('dave')");
$handler->write('another', 'late');
is('and a user\'s that was ended meanwhile stays so under another id, too', false, stored('another'));
is('nothing is collected by a role that may not', 0, $handler->gc(1));
