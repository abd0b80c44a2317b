<?php
// phpredis with its defaults: strings, pipelines, hashes, transactions, pub/sub, SCAN, scripts.

require __DIR__ . '/job.php';

function strings(Redis $redis): void
{
    same(true, $redis->set('greeting', "he\r\nllo", 100));
    same("he\r\nllo", $redis->get('greeting'));
    same(false, $redis->get('absent'));
    same(41, $redis->incrBy('counter', 41));
    same(false, $redis->lPush('counter', 'x'));
    same(true, str_starts_with($redis->getLastError(), 'WRONGTYPE'));
    same(true, $redis->setnx('lock', '1'));
    same(false, $redis->set('lock', '2', ['nx', 'ex' => 10]));
    $users = [];
    for ($number = 0; $number < 50; $number++) {
        $users["user:$number"] = (string) $number;
    }
    same(true, $redis->mset($users));
    same([...array_values($users), false], $redis->mget([...array_keys($users), 'absent']));
}

function pipelines(Redis $redis): void
{
    $pipeline = $redis->multi(Redis::PIPELINE);
    for ($number = 0; $number < 50; $number++) {
        $pipeline->set("page:$number", $number)->get("page:$number");
    }
    foreach (array_chunk($pipeline->exec(), 2) as $number => $replies) {
        same([true, (string) $number], $replies);
    }
}

function containers(Redis $redis): void
{
    same(true, $redis->hMSet('profile', ['name' => 'Ann', 'visits' => 1]));
    same(5, $redis->hIncrBy('profile', 'visits', 4));
    same(['name' => 'Ann', 'visits' => '5'], $redis->hGetAll('profile'));
    same(2, $redis->rPush('tasks', 'a', 'b'));
    same(['tasks', 'a'], $redis->blPop(['tasks'], 5));
    same(2, $redis->zAdd('board', 1, 'x', 2, 'y'));
    same(['x' => 1.0, 'y' => 2.0], $redis->zRange('board', 0, -1, true));
    same(true, (bool) $redis->xAdd('events', '*', ['kind' => 'login']));
    same(1, $redis->xLen('events'));
}

function transactions(Redis $redis): void
{
    same([true, 1], $redis->multi()->set('{order:1}:state', 'paid')->incr('{order:1}:count')->exec());
    $redis->watch('{order:1}:count');
    $other = new Redis();
    $other->connect($GLOBALS['host'], $GLOBALS['port']);
    same(2, $other->incr('{order:1}:count'));
    same(false, $redis->multi()->incr('{order:1}:count')->exec());
    same('2', $redis->get('{order:1}:count'));
    same(['{order:1}:count', 5], $redis->eval(
        "return {KEYS[1], redis.call('incrby', KEYS[1], ARGV[1])}", ['{order:1}:count', 3], 1
    ));
}

function all_keys(Redis $redis): void
{
    $redis->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
    $found = [];
    $cursor = null;
    while (($keys = $redis->scan($cursor, 'user:*', 20)) !== false) {
        array_push($found, ...$keys);
    }
    same(50, count(array_unique($found)));
    same(50, $redis->del($found));
    same(true, str_contains($redis->info()['redis_version'], '.'));
}

function messages(Redis $redis): void
{
    $publisher = beside('
        $redis = new Redis();
        $redis->connect($argv[1], (int) $argv[2]);
        while ($redis->publish("news", "0") == 0) { usleep(10000); }
        for ($number = 1; $number < 50; $number++) { $redis->publish("news", $number); }
    ');
    $received = [];
    $redis->setOption(Redis::OPT_READ_TIMEOUT, 10);
    try {
        $redis->subscribe(['news'], function ($redis, $channel, $message) use (&$received) {
            $received[] = $message;
            if (count($received) == 50) {
                $redis->close();
            }
        });
    } catch (RedisException $error) {
        same('Connection closed', $error->getMessage());
    }
    same(array_map('strval', range(0, 49)), $received);
    same(0, proc_close($publisher));
}

$redis = new Redis();
same(true, $redis->connect($host, $port));
strings($redis);
pipelines($redis);
containers($redis);
transactions($redis);
all_keys($redis);
$subscriber = new Redis();
$subscriber->connect($host, $port);
messages($subscriber);
echo 'phpredis ', phpversion('redis'), " has done its job\n";
