<?php

declare(strict_types=1);

namespace Narvik;

use Closure;
use InvalidArgumentException;
use PDO;
use PDOStatement;
use SessionHandlerInterface;
use SessionIdInterface;
use SessionUpdateTimestampHandlerInterface;
use UnexpectedValueException;

/** Keeps PHP's sessions in PostgreSQL, in narvik. */
class NarvikSessionHandler implements SessionHandlerInterface, SessionIdInterface, SessionUpdateTimestampHandlerInterface
{
    private const DISABLE_PREPARES =
        PHP_VERSION_ID < 80400 ? PDO::PGSQL_ATTR_DISABLE_PREPARES : \Pdo\Pgsql::ATTR_DISABLE_PREPARES;

    private Closure $db;
    private Closure $user;

    /** The session that was read last, whether there was one, and whether it was a user's. */
    private ?string $id = null;
    private bool $found = false;
    private bool $loggedIn = false;

    /** What validateId() was asked last, and what it found. */
    private array $validated = [null, null];

    /** Somebody else has ended the user's session that this request had read. */
    private bool $ended = false;

    /**
     * @param PDO|callable $db a connection of driver pgsql, outside of any transaction when sessions are read and
     *                         written, or what returns one, and is asked before each query
     * @param ?callable $user given $_SESSION as it is saved, the id of whose session it is: an integer or a string,
     *                        or null, false or '' for a guest; $_SESSION['user_id'] unless told otherwise
     * @param ?int $lifetime seconds from one request to the next; session.gc_maxlifetime unless told otherwise
     * @param string $namespace the key of a session's data under which $_SESSION is stored; sessions without it
     *                          are another application's
     */
    public function __construct(
        PDO|callable $db,
        ?callable $user = null,
        private ?int $lifetime = null,
        private string $namespace = 'php',
    ) {
        $this->db = $db instanceof PDO ? fn () => $db : $db(...);
        if ($db instanceof PDO) {
            $this->connection();
        }
        $this->user = ($user ?? fn (array $session) => $session['user_id'] ?? null)(...);
    }

    public function open(string $path, string $name): bool
    {
        return true;
    }

    /** session_regenerate_id() calls this, too, so what has ended stays so. */
    public function close(): bool
    {
        [$this->id, $this->found, $this->loggedIn, $this->validated] = [null, false, false, [null, null]];
        return true;
    }

    public function create_sid(): string
    {
        return bin2hex(random_bytes(20));
    }

    /** Mostly PHP reads right after it has asked this, so one query serves both.  session_create_id() only asks. */
    public function validateId(string $id): bool
    {
        $this->validated = [$id, $this->fetch($id)];
        return $this->validated[1] !== null;
    }

    public function read(string $id): string
    {
        $row = $id === $this->validated[0] ? $this->validated[1] : $this->fetch($id);
        $this->validated = [null, null];
        [$this->id, $this->found, $this->loggedIn] = [$id, $row !== null, (bool) ($row[1] ?? false)];
        // session_start() empties $_SESSION before it reads, session_regenerate_id() does not.
        // Laravel has no $_SESSION, and reads when a request begins.
        if ($this->found || empty($_SESSION)) {
            $this->ended = false;
        }
        return base64_decode($row[0] ?? '');
    }

    /** What was logged out since it was read stays so: a session that was found is only replaced. */
    public function write(string $id, string $data): bool
    {
        // Laravel gives a session another id without telling the handler.
        if ($this->loggedIn && $id !== $this->id) {
            $this->ended = !$this->fetch($this->id);
        }
        if ($this->ended) {
            return true;
        }
        $user = $this->userId();
        $put = fn (string $existing) => $this->query(
            'SELECT narvik_put_session(?, ?, statement_timestamp() + make_interval(secs => ?), ?, existing => ?)',
            [
                self::hash($id),
                $user,
                $this->lifetime(),
                json_encode((object) [$this->namespace => base64_encode($data)], JSON_THROW_ON_ERROR),
                $existing,
            ]
        )->fetchColumn();
        if ($id === $this->id && $this->found) {
            if (!$put('true')) {
                $this->ended = $this->loggedIn;
                return true;
            }
        } elseif (!$put('false') && !($this->fetch($id) && $put('true'))) {
            // What is there is not ours.  Ours, another request had stored meanwhile.
            return false;
        }
        [$this->id, $this->found, $this->loggedIn] = [$id, true, $user !== null];
        return true;
    }

    /** What session.lazy_write calls where the data is as it was read. */
    public function updateTimestamp(string $id, string $data): bool
    {
        if ($id === $this->id && $this->found) {
            $this->query(
                'SELECT narvik_update_session_expiry(?, statement_timestamp() + make_interval(secs => ?))',
                [self::hash($id), $this->lifetime()]
            );
        }
        return true;
    }

    public function destroy(string $id): bool
    {
        $deleted = $this->query(
            'SELECT narvik_delete_session(id) FROM narvik_fetch_session(?) WHERE jsonb_exists(data, ?)',
            [self::hash($id), $this->namespace]
        )->fetchColumn();
        if ($id === $this->id) {
            $this->ended = $this->ended || ($this->loggedIn && !$deleted);
            $this->found = $this->loggedIn = false;
        }
        return true;
    }

    /** The purge worker of narvik does this; roles that may do it here, too. */
    public function gc(int $max_lifetime): int|false
    {
        $may = $this->query("SELECT has_function_privilege('narvik_delete_all_expired_sessions()', 'EXECUTE')");
        return $may->fetchColumn() ? (int) $this->query('SELECT narvik_delete_all_expired_sessions()')->fetchColumn() : 0;
    }

    /** The data of a session of ours, and whether it is a user's. */
    private function fetch(string $id): ?array
    {
        return $this->query(
            'SELECT data->>?::text, user_id IS NOT NULL FROM narvik_fetch_session(?)
             WHERE jsonb_exists(data, ?) AND expires_at > statement_timestamp()',
            [$this->namespace, self::hash($id), $this->namespace]
        )->fetch(PDO::FETCH_NUM) ?: null;
    }

    /** Whose session is saved; null: a guest's. */
    private function userId(): ?string
    {
        $user = ($this->user)($_SESSION ?? []);
        if ($user === null || $user === false || $user === '') {
            return null;
        }
        if (!is_int($user) && !is_string($user)) {
            throw new UnexpectedValueException(
                'the id of a session\'s user ($user, or $_SESSION[\'user_id\']) has to be int, string or null, not '
                . get_debug_type($user)
            );
        }
        return (string) $user;
    }

    private function lifetime(): int
    {
        return $this->lifetime ?? (int) ini_get('session.gc_maxlifetime');
    }

    /** All that the database gets to see of an id. */
    private static function hash(string $id): string
    {
        return hash('sha256', $id);
    }

    private function connection(): PDO
    {
        $db = ($this->db)();
        if ($db->getAttribute(PDO::ATTR_ERRMODE) !== PDO::ERRMODE_EXCEPTION) {
            throw new InvalidArgumentException('sessions need a PDO whose ATTR_ERRMODE is ERRMODE_EXCEPTION');
        }
        return $db;
    }

    /** One round trip, and no prepared statement that a pooler could lose. */
    private function query(string $sql, array $values = []): PDOStatement
    {
        if (str_contains(implode($values), "\0")) {
            throw new UnexpectedValueException(
                'the id of a session\'s user and a namespace must not have the octet NUL, where PDO would cut them'
            );
        }
        $statement = $this->connection()->prepare($sql, [self::DISABLE_PREPARES => true]);
        $statement->execute($values);
        return $statement;
    }
}
