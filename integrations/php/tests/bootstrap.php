<?php
// Before Symfony's tests: its classes, narvik's handler, and what these tests ask of the
// handler that they are made for.
namespace Narvik\Tests;

require 'Symfony/Component/HttpFoundation/autoload.php';
require __DIR__ . '/../src/NarvikSessionHandler.php';

class PdoSessionHandler extends \Narvik\NarvikSessionHandler
{
    // Each of Symfony's tests has a database of its own.
    public function createTable(): void
    {
        (new \PDO('pgsql:'))->exec('SELECT end_all_sessions()');
    }
}
