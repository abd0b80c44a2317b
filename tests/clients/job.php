<?php
// Shared by the jobs in PHP: their arguments, and checks that end the program with status 1.

error_reporting(E_ALL);
set_error_handler(function ($level, $text, $file, $line) {
    throw new ErrorException($text, 0, $level, $file, $line);
});

[, $host, $port, $servers] = $argv;
$port = (int) $port;

function same($expected, $actual): void
{
    if ($expected !== $actual) {
        throw new RuntimeException(var_export($actual, true) . ' instead of ' . var_export($expected, true));
    }
}

// Starts `php -r CODE` beside this program, with the job's arguments; returns its process.
function beside(string $code)
{
    global $host, $port, $servers;
    $command = [PHP_BINARY, '-r', $code, '--', $host, (string) $port, $servers];
    return proc_open($command, [], $pipes);
}
