<?php

declare(strict_types=1);

namespace Narvik;

use Closure;
use InvalidArgumentException;
use PDO;
use SessionHandlerInterface;
use SessionIdInterface;
use SessionUpdateTimestampHandlerInterface;

/** Keeps PHP's sessions in PostgreSQL, in narvik. */
class NarvikSessionHandler implements SessionHandlerInterface, SessionIdInterface, SessionUpdateTimestampHandlerInterface
{
    private Closure $user;

    /** The session that was read last, whether there was one, and its data if validateId() read it. */
    private ?string $id = null;
    private bool $found = false;
    private ?string $payload = null;

    /**
     * @param PDO $db a connection of driver pgsql, outside of any transaction when sessions are read and written
     * @param ?callable $user given $_SESSION as it is saved, the id of whose session it is, or null;
     *                        $_SESSION['user_id'] unless told otherwise
     * @param ?int $lifetime seconds from one request to the next; session.gc_maxlifetime unless told otherwise
     */
    public function __construct(private PDO $db, ?callable $user = null, private ?int $lifetime = null)
    {
        if ($db->getAttribute(PDO::ATTR_ERRMODE) !== PDO::ERRMODE_EXCEPTION) {
            throw new InvalidArgumentException('sessions need a PDO whose ATTR_ERRMODE is ERRMODE_EXCEPTION');
        }
        $this->user = ($user ?? fn (array $session) => $session['user_id'] ?? null)(...);
    }

    public function open(string $path, string $name): bool
    {
        return true;
    }

    public function close(): bool
    {
        $this->id = $this->payload = null;
        return true;
    }

    public function create_sid(): string
    {
        return bin2hex(random_bytes(20));
    }

    /** PHP reads right after it has asked this, so one query serves both. */
    public function validateId(string $id): bool
    {
        $this->payload = $this->read($id);
        return $this->found;
    }

    public function read(string $id): string
    {
        if ($id === $this->id && $this->payload !== null) {
            $payload = $this->payload;
        } else {
            $encoded = $this->query(
                "SELECT data->>'php' FROM narvik_fetch_session(?) WHERE expires_at > statement_timestamp()",
                [self::hash($id)]
            );
            $this->id = $id;
            $this->found = $encoded !== false;
            $payload = base64_decode((string) $encoded);
        }
        $this->payload = null;
        return $payload;
    }

    /** What was logged out since it was read stays so: a session that was found is only replaced. */
    public function write(string $id, string $data): bool
    {
        $existing = $id === $this->id ? $this->found : null;
        $user = ($this->user)($_SESSION ?? []);
        $written = $this->query(
            'SELECT narvik_put_session(?, ?, statement_timestamp() + make_interval(secs => ?), ?, existing => ?)',
            [
                self::hash($id),
                $user === null ? null : (string) $user,
                $this->lifetime(),
                json_encode(['php' => base64_encode($data)]),
                $existing === null ? null : ($existing ? 'true' : 'false'),
            ]
        );
        if ($written) {
            [$this->id, $this->found, $this->payload] = [$id, true, null];
        }
        return $written || $existing === true;
    }

    /** What session.lazy_write calls where the data is as it was read. */
    public function updateTimestamp(string $id, string $data): bool
    {
        $this->query(
            'SELECT narvik_update_session_expiry(?, statement_timestamp() + make_interval(secs => ?))',
            [self::hash($id), $this->lifetime()]
        );
        return true;
    }

    public function destroy(string $id): bool
    {
        $this->query('SELECT narvik_delete_session(?)', [self::hash($id)]);
        [$this->id, $this->found, $this->payload] = [$id, false, null];
        return true;
    }

    /** The purge worker of narvik does this; roles that may do it here, too. */
    public function gc(int $max_lifetime): int|false
    {
        $may = $this->query("SELECT has_function_privilege('narvik_delete_all_expired_sessions()', 'EXECUTE')");
        return $may ? (int) $this->query('SELECT narvik_delete_all_expired_sessions()') : 0;
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

    /** One round trip, and no prepared statement that a pooler could lose. */
    private function query(string $sql, array $values = []): mixed
    {
        $statement = $this->db->prepare($sql, [PDO::PGSQL_ATTR_DISABLE_PREPARES => true]);
        $statement->execute($values);
        return $statement->fetchColumn();
    }
}
