<?php
// PHP's sessions, with the handler that a fourth argument names: redis or memcached. Settings are the defaults, so the
// memcached handler uses its locks.

require __DIR__ . '/job.php';

$handler = $argv[4];
ini_set('session.save_handler', $handler);
ini_set('session.save_path', $handler == 'redis' ? "tcp://$host:$port" : "$host:$port");
// The default is memcached's binary protocol, which pools refuse.
ini_set('memcached.sess_binary_protocol', '0');
ini_set('session.use_cookies', '0');
ini_set('session.cache_limiter', '');

// The loops work like requests for web pages: each opens the session, changes it and closes it.
for ($number = 0; $number < 20; $number++) {
    session_id("visitor$number");
    same(true, session_start());
    same([], $_SESSION);
    $_SESSION = ['number' => $number, 'cart' => ["thing $number"]];
    same(true, session_write_close());
}
for ($number = 0; $number < 20; $number++) {
    session_id("visitor$number");
    same(true, session_start());
    same($number, $_SESSION['number']);
    same(["thing $number"], $_SESSION['cart']);
    same(true, $number == 1 ? session_destroy() : session_abort());
}
session_id('visitor1');
session_start();
same([], $_SESSION);
session_abort();
session_id('visitor2');
session_start();
same(2, $_SESSION['number']);
session_abort();
echo "sessions in $handler have done their job\n";
