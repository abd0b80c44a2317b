# Redis.pm with its defaults; a fourth argument selects Redis::Fast, which has the same names.

use strict;
use warnings;
use Test::More;

my ($host, $port, $servers, $class) = @ARGV;
$class //= 'Redis';
eval "require $class" or die $@;

sub client { $class->new(server => "$host:$port") }

sub strings {
    my $redis = shift;
    is $redis->set('greeting', "he\r\nllo", 'EX', 100), 'OK', 'SET';
    is $redis->get('greeting'), "he\r\nllo", 'GET';
    is $redis->get('absent'), undef, 'GET of no key';
    is $redis->incrby('counter', 41), 41, 'INCRBY';
    ok !eval { $redis->lpush('counter', 'x'); 1 }, 'LPUSH to a number';
    like $@, qr/WRONGTYPE/, 'its error';
    my %users = map { ("user:$_" => $_) } 0 .. 49;
    is $redis->mset(%users), 'OK', 'MSET';
    is_deeply [$redis->mget((map { "user:$_" } 0 .. 49), 'absent')], [0 .. 49, undef], 'MGET';
}

sub pipelines {
    my $redis = shift;
    my @values;
    for my $number (0 .. 49) {
        $redis->set("page:$number", $number, sub { });
        $redis->get("page:$number", sub { push @values, $_[0] });
    }
    $redis->wait_all_responses;
    is_deeply \@values, [0 .. 49], 'pipeline';
}

sub containers {
    my $redis = shift;
    is $redis->hset('profile', 'name', 'Ann'), 1, 'HSET';
    is $redis->hincrby('profile', 'visits', 5), 5, 'HINCRBY';
    is_deeply { $redis->hgetall('profile') }, { name => 'Ann', visits => 5 }, 'HGETALL';
    is $redis->rpush('tasks', 'a', 'b'), 2, 'RPUSH';
    is_deeply [$redis->blpop('tasks', 5)], ['tasks', 'a'], 'BLPOP';
    is $redis->zadd('board', 1, 'x', 2, 'y'), 2, 'ZADD';
    is_deeply [$redis->zrange('board', 0, -1)], ['x', 'y'], 'ZRANGE';
}

sub transactions {
    my $redis = shift;
    is $redis->multi, 'OK', 'MULTI';
    is $redis->set('{order:1}:state', 'paid'), 'QUEUED', 'SET in MULTI';
    is $redis->incr('{order:1}:count'), 'QUEUED', 'INCR in MULTI';
    is_deeply [$redis->exec], ['OK', 1], 'EXEC';
    my $script = "return {KEYS[1], redis.call('incrby', KEYS[1], ARGV[1])}";
    is_deeply [$redis->eval($script, 1, '{order:1}:count', 3)], ['{order:1}:count', 4], 'EVAL';
}

sub all_keys {
    my $redis = shift;
    my ($cursor, $keys, %found) = (0);
    do {
        ($cursor, $keys) = $redis->scan($cursor, 'MATCH', 'user:*', 'COUNT', 20);
        @found{@$keys} = ();
    } while $cursor ne '0';
    is scalar(keys %found), 50, 'SCAN';
    is $redis->del(keys %found), 50, 'DEL of many';
    like $redis->info->{redis_version}, qr/^\d+\./, 'INFO';
    ok $redis->ping, 'PING';
}

sub messages {
    my ($redis, $subscriber) = @_;
    my @received;
    my $listener = sub { push @received, $_[0] };
    $subscriber->subscribe('news', $listener);
    is $redis->publish('news', $_), 1, "PUBLISH $_" for 0 .. 49;
    $subscriber->wait_for_messages(1) while @received < 50;
    is_deeply \@received, [0 .. 49], 'the order of messages';
    $subscriber->unsubscribe('news', $listener);
    ok $subscriber->ping, 'PING after UNSUBSCRIBE';
}

my $redis = client();
strings($redis);
pipelines($redis);
containers($redis);
transactions($redis);
all_keys($redis);
messages($redis, client());
$redis->quit;
print "$class ", $class->VERSION, " has done its job\n";
done_testing;
