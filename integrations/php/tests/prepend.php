<?php
// Puts narvik's handler in front of a script that knows nothing of it, and notes in
// $NARVIK_USED which scripts have opened a session.
require __DIR__ . '/../src/NarvikSessionHandler.php';

session_set_save_handler(new class (new PDO('pgsql:')) extends Narvik\NarvikSessionHandler {
    public function open(string $path, string $name): bool
    {
        if ($used = getenv('NARVIK_USED')) {
            file_put_contents($used, basename($_SERVER['SCRIPT_FILENAME'], '.php') . "\n", FILE_APPEND | LOCK_EX);
        }
        return parent::open($path, $name);
    }
});
