<?php
// What the test's browser asks for: one request changes the session as ?do= says, and
// answers with its id, what is in it, and what PHP asked the handler to do.
declare(strict_types=1);

require __DIR__ . '/../src/NarvikSessionHandler.php';

final class Noted extends Narvik\NarvikSessionHandler
{
    public array $calls = [];

    public function write(string $id, string $data): bool
    {
        $this->calls[] = 'write';
        return parent::write($id, $data);
    }

    public function updateTimestamp(string $id, string $data): bool
    {
        $this->calls[] = 'updateTimestamp';
        return parent::updateTimestamp($id, $data);
    }
}

$octets = implode('', array_map('chr', range(0, 255))) . "\0\0\xff\xfe";
$work = $_GET['do'] ?? 'show';
ini_set('session.gc_maxlifetime', $_GET['lifetime'] ?? '1440');
ini_set('session.serialize_handler', $_GET['serializer'] ?? 'php_serialize');
ini_set('session.use_strict_mode', $_GET['strict'] ?? '1');

$db = new PDO('pgsql:');
$handler = new Noted($db, null, null, $_GET['namespace'] ?? 'php');
session_set_save_handler($handler);
session_start();
$found = $_SESSION;
$answer = null;

usleep((int) ($_GET['wait'] ?? 0));
if (isset($_GET['ended'])) {
    // Somebody else's connection, while this request has the session in its hands.
    (new PDO('pgsql:'))->query("SELECT narvik_delete_session('" . hash('sha256', session_id()) . "')");
}

switch ($work) {
    case 'show':
        break;
    case 'put':
        $_SESSION[$_GET['key']] = $_GET['value'];
        break;
    case 'log_in':
        session_regenerate_id(true);
        $_SESSION['user_id'] = $_GET['user'];
        break;
    case 'regenerate':
        for ($times = $_GET['times'] ?? 1; $times > 0; $times--) {
            session_regenerate_id($_GET['delete'] === 'yes');
        }
        break;
    case 'create_id':
        session_create_id();
        $_SESSION['late'] = 'yes';
        break;
    case 'start_again':
        session_destroy();
        session_start();
        session_regenerate_id(true);
        $_SESSION['user_id'] = $_GET['user'];
        break;
    case 'log_out':
        session_destroy();
        break;
    case 'put_octets':
        $_SESSION['octets'] = $octets;
        break;
    case 'has_octets':
        $answer = ($found['octets'] ?? null) === $octets;
        break;
    case 'put_much':
        $_SESSION['much'] = random_bytes(4 << 20);
        $_SESSION['much_hash'] = sha1($_SESSION['much']);
        break;
    case 'has_much':
        $answer = strlen($found['much'] ?? '') === 4 << 20 && sha1($found['much']) === $found['much_hash'];
        break;
    case 'gc':
        $answer = session_gc();
        break;
}
$id = session_id();
session_write_close();

header('Content-Type: application/json');
unset($found['octets'], $found['much']);
echo json_encode(['id' => $id, 'found' => (object) $found, 'answer' => $answer, 'calls' => $handler->calls]);
