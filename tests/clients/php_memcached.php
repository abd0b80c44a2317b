<?php
// PHP's memcached extension with its defaults: values, counters, cas, multi-gets, large values.

require __DIR__ . '/job.php';

function values(Memcached $cache): void
{
    same(true, $cache->set('greeting', 'hello', 100));
    same('hello', $cache->get('greeting'));
    same(false, $cache->get('absent'));
    same(Memcached::RES_NOTFOUND, $cache->getResultCode());
    same(false, $cache->add('greeting', 'x'));
    same(true, $cache->set('list', ['a' => 1, 'b' => [true, null, 2.5]]));
    same(['a' => 1, 'b' => [true, null, 2.5]], $cache->get('list'));
    same(true, $cache->touch('greeting', 100));
    same(true, $cache->delete('greeting'));
    same(false, $cache->delete('greeting'));
    same(true, $cache->set('counter', 40));
    same(45, $cache->increment('counter', 5));
    same(42, $cache->decrement('counter', 3));
    $large = random_bytes(900 * 1000);
    same(true, $cache->set('large', $large));
    same(true, $cache->get('large') === $large);
}

function many(Memcached $cache): void
{
    $users = [];
    for ($number = 0; $number < 50; $number++) {
        $users["user:$number"] = "number $number";
    }
    same(true, $cache->setMulti($users));
    $found = $cache->getMulti([...array_keys($users), 'absent'], Memcached::GET_PRESERVE_ORDER);
    same([...$users, 'absent' => null], $found);
    same(true, $cache->getDelayed(array_keys($users)));
    same(50, count($cache->fetchAll()));
}

function cas(Memcached $cache): void
{
    same(true, $cache->set('balance', 10));
    $item = $cache->get('balance', null, Memcached::GET_EXTENDED);
    same(true, $cache->cas($item['cas'], 'balance', $item['value'] + 1));
    same(false, $cache->cas($item['cas'], 'balance', 0));
    same(Memcached::RES_DATA_EXISTS, $cache->getResultCode());
    same(11, $cache->get('balance'));
}

$cache = new Memcached();
same(true, $cache->addServer($host, $port));
values($cache);
many($cache);
cas($cache);
same(1, count($cache->getVersion()));
echo 'php-memcached ', phpversion('memcached'), " has done its job\n";
