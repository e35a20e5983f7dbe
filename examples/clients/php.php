<?php
// Sessions of narvik from PHP, with the driver pdo_pgsql.
// Connects as PGHOST, PGDATABASE, PGUSER and so on say; see setup.sql.
declare(strict_types=1);

// One connection, one request at a time.  PHP has a process for each request and
// this one for it; where one process serves several at once, take a pool.
$db = new PDO('pgsql:');  // it throws an exception when something fails

// PDO cuts a text at the octet NUL and says nothing: "alice\0" would be alice.  So take
// the id of a user out of the application's table, never from the browser.
function query(string $sql, array $values = []): array
{
    global $db;
    $statement = $db->prepare($sql);
    $statement->execute($values);
    return $statement->fetchAll(PDO::FETCH_ASSOC);
}

// Every request: a transaction that begins with $_SERVER['HTTP_COOKIE'] ?? '', any
// octets.  There is no session, or it is the transaction's identity, which row-level
// security trusts.  The identity ends with the transaction, also on a persistent
// connection.  If the session has a set_cookie, answer with that header: it lives
// longer now.
function as_user(string $header, callable $work): mixed
{
    global $db;
    $db->beginTransaction();
    try {
        $session = query(
            "SELECT token, user_id, data->>'device' AS device, set_cookie
             FROM narvik_authenticate_cookie(?::bytea)",
            ['\x' . bin2hex($header)]
        )[0] ?? null;
        $result = $work($session);
        $db->commit();
        return $result;
    } catch (Throwable $error) {
        $db->rollBack();
        throw $error;
    }
}

// These three return the Set-Cookie header to answer with.

// Something to remember of a visitor who has not logged in.
function remember(string $device): string
{
    return query(
        "SELECT narvik_create_cookie(token) AS set_cookie
         FROM narvik_create_guest_session(jsonb_build_object('device', ?::text))",
        [$device]
    )[0]['set_cookie'];
}

// After the password was right: the guest's session becomes the user's.
function log_in(string $header, string $user_id): string
{
    return as_user($header, fn($session) => query(
        'SELECT narvik_create_cookie(token) AS set_cookie FROM narvik_promote_session(?, ?)',
        [$session['token'] ?? null, $user_id]
    )[0]['set_cookie']);
}

function log_out(string $header): string
{
    return as_user($header, fn() => query(
        'SELECT narvik_invalidate_session(narvik_current_session_id()),
                narvik_create_blank_cookie() AS set_cookie'
    )[0]['set_cookie']);
}

// ---- a visit ----------------------------------------------------------------

function cookies(string $set_cookie): string
{
    return "city=Troms\xf8; " . explode(';', $set_cookie)[0];  // whatever else the browser sends
}

function request(string $header): void
{
    as_user($header, function ($session) {
        $user = $session['user_id'] ?? 'guest';
        echo 'request: ', $session ? "$user on a $session[device]" : 'nobody', "\n";
        if (isset($session['set_cookie'])) {
            echo "set cookie: $session[set_cookie]\n";
        }
        $notes = array_column(query('SELECT body FROM notes ORDER BY body'), 'body');
        echo 'notes: ', implode(', ', $notes) ?: 'none', "\n";
    });
}

request(cookies(''));
$guest = cookies(remember('laptop'));
request($guest);
$set_cookie = log_in($guest, 'alice');
echo "log in: $set_cookie\n";
$alice = cookies($set_cookie);
request($alice);
// Here twenty of its thirty days go by at once.
as_user($alice, fn() => query(
    "SELECT narvik_update_session_expiry(narvik_current_session_id(), now() + interval '10 days')"
));
request($alice);
request($alice);
echo 'log out: ', log_out($alice), "\n";
request($alice);
