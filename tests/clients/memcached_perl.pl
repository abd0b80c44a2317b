# Cache::Memcached with its defaults; a fourth argument selects Cache::Memcached::Fast, which has the same names.

use strict;
use warnings;
use Test::More;

my ($host, $port, $servers, $class) = @ARGV;
$class //= 'Cache::Memcached';
eval "require $class" or die $@;

my $cache = $class->new({ servers => ["$host:$port"] });

ok $cache->set('greeting', 'hello', 100), 'set';
is $cache->get('greeting'), 'hello', 'get';
is $cache->get('absent'), undef, 'get of no key';
ok !$cache->add('greeting', 'x'), 'add';
ok $cache->replace('greeting', { text => ['a', 'b'] }), 'replace';
is_deeply $cache->get('greeting'), { text => ['a', 'b'] }, 'a value with structure';
ok $cache->delete('greeting'), 'delete';
ok !$cache->delete('greeting'), 'delete of no key';

ok $cache->set('counter', 40), 'set of a number';
is $cache->incr('counter', 5), 45, 'incr';
is $cache->decr('counter', 3), 42, 'decr';

my $large = join ' ', 1 .. 150_000;
ok $cache->set('large', $large), 'set of a large value';
is $cache->get('large'), $large, 'get of a large value';

my %users = map { ("user:$_" => "number $_") } 0 .. 49;
$cache->set($_, $users{$_}) for keys %users;
is_deeply $cache->get_multi(keys %users, 'absent'), \%users, 'get_multi';

if ($cache->can('gets')) {
    my ($unique, $value) = @{ $cache->gets('user:1') };
    ok $cache->cas('user:1', $unique, 'new'), 'cas';
    ok !$cache->cas('user:1', $unique, 'newer'), 'cas of a value that has changed';
    is $cache->get('user:1'), 'new', 'get after cas';
}
print "$class ", $class->VERSION, " has done its job\n";
done_testing;
