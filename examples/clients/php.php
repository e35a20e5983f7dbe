<?php
// Sessions of narvik from PHP, with the driver pdo_pgsql.
// Connects as PGHOST, PGDATABASE, PGUSER and so on say; see setup.sql.
declare(strict_types=1);

// One connection, one request at a time.  PHP has a process for each request and
// this one for it; where one process serves several at once, take a pool.
$db = new PDO('pgsql:');  // it throws an exception when something fails

function query(string $sql, array $values = []): array
{
    global $db;
    $statement = $db->prepare($sql);
    $statement->execute($values);
    return $statement->fetchAll(PDO::FETCH_ASSOC);
}

// After the password was right: the Set-Cookie header to answer with.
function log_in(string $user_id, string $device): string
{
    return query(
        'SELECT narvik_create_cookie(token) AS set_cookie FROM narvik_create_session(?, ?)',
        [$user_id, json_encode(['device' => $device])]
    )[0]['set_cookie'];
}

// On every request, with its Cookie header: who it is, or null.  If there is a
// set_cookie, answer with that header: the session lives longer now.
function validate(string $cookies): ?array
{
    return query(
        "SELECT s.user_id, s.data->>'device' AS device,
                CASE WHEN s.new OR s.extended THEN narvik_create_cookie(token) END AS set_cookie
         FROM narvik_read_cookie(?) AS token, narvik_validate_session(token) AS s",
        [$cookies]
    )[0] ?? null;
}

// Work with the database as this user.  Row-level security shows her rows, and
// the identity ends with the transaction, also on a persistent connection.
function as_user(string $cookies, callable $work): mixed
{
    global $db;
    $db->beginTransaction();
    try {
        query('SELECT narvik_authenticate(narvik_read_cookie(?))', [$cookies]);
        $result = $work();
        $db->commit();
        return $result;
    } catch (Throwable $error) {
        $db->rollBack();
        throw $error;
    }
}

// The Set-Cookie header that removes the cookie of the session that is gone.
function log_out(string $cookies): string
{
    return query(
        'SELECT narvik_invalidate_session(narvik_session_id(narvik_read_cookie(?))),
                narvik_create_blank_cookie() AS set_cookie',
        [$cookies]
    )[0]['set_cookie'];
}

// ---- a visit ----------------------------------------------------------------

function notes(string $cookies): void
{
    $rows = as_user($cookies, fn() => query('SELECT body FROM notes ORDER BY body'));
    echo 'notes: ', implode(', ', array_column($rows, 'body')) ?: 'none', "\n";
}

function request(string $cookies): void
{
    $session = validate($cookies);
    echo 'request: ', $session ? "$session[user_id] on a $session[device]" : 'not logged in', "\n";
    if ($session && $session['set_cookie'] !== null) {
        echo "set cookie: $session[set_cookie]\n";
    }
}

request('theme=dark');
notes('theme=dark');
$set_cookie = log_in('alice', 'laptop');
echo "log in: $set_cookie\n";
$cookies = 'theme=dark; ' . explode(';', $set_cookie)[0];  // what a browser sends from now on
request($cookies);
notes($cookies);
// Here twenty of its thirty days go by at once.
query(
    "SELECT narvik_update_session_expiry(narvik_session_id(narvik_read_cookie(?)), now() + interval '10 days')",
    [$cookies]
);
request($cookies);
request($cookies);
echo 'log out: ', log_out($cookies), "\n";
request($cookies);
notes($cookies);
