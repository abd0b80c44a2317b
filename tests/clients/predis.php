<?php
// Predis with its defaults: strings, pipelines, hashes, transactions, pub/sub, SCAN, scripts.

require __DIR__ . '/job.php';
require 'Predis/Autoloader.php';

Predis\Autoloader::register();

function strings(Predis\Client $redis): void
{
    same('OK', (string) $redis->set('greeting', "he\r\nllo", 'EX', 100));
    same("he\r\nllo", $redis->get('greeting'));
    same(null, $redis->get('absent'));
    same(41, $redis->incrby('counter', 41));
    try {
        $redis->lpush('counter', ['x']);
        throw new RuntimeException('LPUSH to a number went well');
    } catch (Predis\Response\ServerException $error) {
        same('WRONGTYPE', $error->getErrorType());
    }
    $users = [];
    for ($number = 0; $number < 50; $number++) {
        $users["user:$number"] = (string) $number;
    }
    same('OK', (string) $redis->mset($users));
    same([...array_values($users), null], $redis->mget([...array_keys($users), 'absent']));
}

function pipelines(Predis\Client $redis): void
{
    $replies = $redis->pipeline(function ($pipeline) {
        for ($number = 0; $number < 50; $number++) {
            $pipeline->set("page:$number", $number);
            $pipeline->get("page:$number");
        }
    });
    foreach (array_chunk($replies, 2) as $number => [, $value]) {
        same((string) $number, $value);
    }
}

function containers(Predis\Client $redis): void
{
    same('OK', (string) $redis->hmset('profile', ['name' => 'Ann', 'visits' => 1]));
    same(5, $redis->hincrby('profile', 'visits', 4));
    same(['name' => 'Ann', 'visits' => '5'], $redis->hgetall('profile'));
    same(2, $redis->rpush('tasks', ['a', 'b']));
    same(['tasks', 'a'], $redis->blpop(['tasks'], 5));
    same(3, $redis->sadd('tags', ['x', 'y', 'z']));
    same(3, iterator_count(new Predis\Collection\Iterator\SetKey($redis, 'tags')));
}

function transactions(Predis\Client $redis): void
{
    $replies = $redis->transaction(function ($transaction) {
        $transaction->set('{order:1}:state', 'paid');
        $transaction->incr('{order:1}:count');
    });
    same(1, $replies[1]);
    $options = ['watch' => '{order:1}:count', 'cas' => true, 'retry' => 1];
    $replies = $redis->transaction($options, function ($transaction) {
        $count = $transaction->get('{order:1}:count');
        $transaction->multi();
        $transaction->set('{order:1}:count', $count + 1);
    });
    same('2', $redis->get('{order:1}:count'));
    $script = "return {KEYS[1], redis.call('incrby', KEYS[1], ARGV[1])}";
    same(['{order:1}:count', 5], $redis->eval($script, 1, '{order:1}:count', 3));
}

function all_keys(Predis\Client $redis): void
{
    $found = iterator_to_array(new Predis\Collection\Iterator\Keyspace($redis, 'user:*', 20), false);
    same(50, count(array_unique($found)));
    same(50, $redis->del($found));
    same(true, isset($redis->info()['Server']['redis_version']));
}

function messages(Predis\Client $redis): void
{
    $publisher = beside('
        require "Predis/Autoloader.php";
        Predis\Autoloader::register();
        $redis = new Predis\Client(["host" => $argv[1], "port" => (int) $argv[2]]);
        while ($redis->publish("news", "0") == 0) { usleep(10000); }
        for ($number = 1; $number < 50; $number++) { $redis->publish("news", $number); }
    ');
    $received = [];
    $loop = $redis->pubSubLoop();
    $loop->subscribe('news');
    foreach ($loop as $message) {
        if ($message->kind == 'message') {
            $received[] = $message->payload;
            if (count($received) == 50) {
                $loop->unsubscribe();
            }
        }
    }
    same(array_map('strval', range(0, 49)), $received);
    same(0, proc_close($publisher));
}

$parameters = ['host' => $host, 'port' => $port];
$redis = new Predis\Client($parameters);
strings($redis);
pipelines($redis);
containers($redis);
transactions($redis);
all_keys($redis);
messages(new Predis\Client($parameters + ['read_write_timeout' => 10]));
echo 'Predis ', Predis\Client::VERSION, " has done its job\n";
