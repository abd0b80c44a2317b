%% eredis with its defaults: strings, pipelines, hashes, transactions, pub/sub. Called as ``eredis HOST PORT SERVERS``.

-module(eredis_job).
-export([main/1]).

main([Host, Port | _]) ->
    {ok, Client} = eredis:start_link(Host, list_to_integer(Port)),
    strings(Client),
    pipelines(Client),
    containers(Client),
    transactions(Client),
    messages(Client, Host, list_to_integer(Port)),
    io:format("eredis has done its job~n").

strings(Client) ->
    {ok, <<"OK">>} = eredis:q(Client, ["SET", "greeting", "he\r\nllo", "EX", "100"]),
    {ok, <<"he\r\nllo">>} = eredis:q(Client, ["GET", "greeting"]),
    {ok, undefined} = eredis:q(Client, ["GET", "absent"]),
    {ok, <<"41">>} = eredis:q(Client, ["INCRBY", "counter", 41]),
    {error, <<"WRONGTYPE", _/binary>>} = eredis:q(Client, ["LPUSH", "counter", "x"]),
    Numbers = lists:seq(1, 50),
    {ok, <<"OK">>} = eredis:q(Client, ["MSET" | lists:append([[user(N), N] || N <- Numbers])]),
    Expected = [integer_to_binary(N) || N <- Numbers] ++ [undefined],
    {ok, Expected} = eredis:q(Client, ["MGET" | [user(N) || N <- Numbers] ++ ["absent"]]),
    {ok, <<"50">>} = eredis:q(Client, ["DEL" | [user(N) || N <- Numbers]]).

user(Number) -> "user:" ++ integer_to_list(Number).

pipelines(Client) ->
    Numbers = lists:seq(1, 50),
    Expected = lists:append([[{ok, <<"OK">>}, {ok, integer_to_binary(N)}] || N <- Numbers]),
    Expected = eredis:qp(Client, lists:append([[["SET", user(N), N], ["GET", user(N)]] || N <- Numbers])).

containers(Client) ->
    {ok, <<"2">>} = eredis:q(Client, ["HSET", "profile", "name", "Ann", "visits", 1]),
    {ok, <<"5">>} = eredis:q(Client, ["HINCRBY", "profile", "visits", 4]),
    {ok, [<<"name">>, <<"Ann">>, <<"visits">>, <<"5">>]} = eredis:q(Client, ["HGETALL", "profile"]),
    {ok, <<"2">>} = eredis:q(Client, ["RPUSH", "tasks", "a", "b"]),
    {ok, [<<"tasks">>, <<"a">>]} = eredis:q(Client, ["BLPOP", "tasks", 5]).

transactions(Client) ->
    [{ok, <<"OK">>}, {ok, <<"QUEUED">>}, {ok, <<"QUEUED">>}, {ok, [<<"OK">>, <<"1">>]}] =
        eredis:qp(Client, [["MULTI"], ["SET", "{order:1}:state", "paid"], ["INCR", "{order:1}:count"], ["EXEC"]]),
    Script = "return {KEYS[1], redis.call('incrby', KEYS[1], ARGV[1])}",
    {ok, [<<"{order:1}:count">>, <<"4">>]} = eredis:q(Client, ["EVAL", Script, 1, "{order:1}:count", 3]).

messages(Client, Host, Port) ->
    {ok, Subscriber} = eredis_sub:start_link(Host, Port, ""),
    ok = eredis_sub:controlling_process(Subscriber),
    ok = eredis_sub:subscribe(Subscriber, [<<"news">>]),
    receive {subscribed, <<"news">>, Subscriber} -> eredis_sub:ack_message(Subscriber)
    after 10000 -> error(no_confirmation) end,
    Numbers = [integer_to_binary(N) || N <- lists:seq(1, 50)],
    [{ok, <<"1">>} = eredis:q(Client, ["PUBLISH", "news", N]) || N <- Numbers],
    [receive {message, <<"news">>, N, Subscriber} -> eredis_sub:ack_message(Subscriber)
     after 10000 -> error({no_message, N}) end || N <- Numbers].
