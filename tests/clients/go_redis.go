// go-redis and redigo with their defaults: strings, pipelines, hashes, transactions, pub/sub, SCAN, scripts.
// Called as "go_redis HOST PORT SERVERS".
package main

import (
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
	goredis "gopkg.in/redis.v5"
)

const keys = 50

func same(expected, actual interface{}) {
	if !reflect.DeepEqual(expected, actual) {
		panic(fmt.Sprintf("%#v instead of %#v", actual, expected))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func user(number int) string { return "user:" + strconv.Itoa(number) }

func values(client *goredis.Client) {
	same("OK", client.Set("greeting", "he\r\nllo", 100*time.Second).Val())
	same("he\r\nllo", client.Get("greeting").Val())
	same(goredis.Nil, client.Get("absent").Err())
	same(int64(41), client.IncrBy("counter", 41).Val())
	same(true, strings.HasPrefix(client.LPush("counter", "x").Err().Error(), "WRONGTYPE"))
	pairs, names, numbers := []interface{}{}, []string{}, []interface{}{}
	for number := 0; number < keys; number++ {
		pairs = append(pairs, user(number), number)
		names = append(names, user(number))
		numbers = append(numbers, strconv.Itoa(number))
	}
	must(client.MSet(pairs...).Err())
	same(append(numbers, nil), client.MGet(append(names, "absent")...).Val())
	found := map[string]bool{}
	iterator := client.Scan(0, "user:*", 20).Iterator()
	for iterator.Next() {
		found[iterator.Val()] = true
	}
	must(iterator.Err())
	same(keys, len(found))
	same(int64(keys), client.Del(names...).Val())
}

func pipelines(client *goredis.Client) {
	gets := []*goredis.StringCmd{}
	_, err := client.Pipelined(func(pipeline *goredis.Pipeline) error {
		for number := 0; number < keys; number++ {
			pipeline.Set(user(number), number, 0)
			gets = append(gets, pipeline.Get(user(number)))
		}
		return nil
	})
	must(err)
	for number, get := range gets {
		same(strconv.Itoa(number), get.Val())
	}
}

func containers(client *goredis.Client) {
	must(client.HMSet("profile", map[string]string{"name": "Ann", "visits": "1"}).Err())
	same(int64(5), client.HIncrBy("profile", "visits", 4).Val())
	same(map[string]string{"name": "Ann", "visits": "5"}, client.HGetAll("profile").Val())
	same(int64(2), client.RPush("tasks", "a", "b").Val())
	same([]string{"tasks", "a"}, client.BLPop(5*time.Second, "tasks").Val())
}

func transactions(client *goredis.Client) {
	var count *goredis.IntCmd
	_, err := client.TxPipelined(func(pipeline *goredis.Pipeline) error {
		pipeline.Set("{order:1}:state", "paid", 0)
		count = pipeline.Incr("{order:1}:count")
		return nil
	})
	must(err)
	same(int64(1), count.Val())
	add := func(interfere bool) error {
		return client.Watch(func(transaction *goredis.Tx) error {
			before, err := transaction.Get("{order:1}:count").Int64()
			must(err)
			if interfere {
				must(client.Incr("{order:1}:count").Err())
			}
			_, err = transaction.Pipelined(func(pipeline *goredis.Pipeline) error {
				pipeline.Set("{order:1}:count", before+1, 0)
				return nil
			})
			return err
		}, "{order:1}:count")
	}
	same(goredis.TxFailedErr, add(true))
	must(add(false))
	same("3", client.Get("{order:1}:count").Val())
	script := goredis.NewScript("return redis.call('incrby', KEYS[1], ARGV[1])")
	same(int64(7), script.Run(client, []string{"{order:1}:count"}, 4).Val())
}

func messages(client *goredis.Client) {
	subscriber, err := client.Subscribe("news")
	must(err)
	for client.Publish("news", "-1").Val() == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	for number := -1; number < keys; number++ {
		if number >= 0 {
			same(int64(1), client.Publish("news", strconv.Itoa(number)).Val())
		}
		message, err := subscriber.ReceiveMessage()
		must(err)
		same(strconv.Itoa(number), message.Payload)
	}
	must(subscriber.Close())
}

// many uses the pool of connections from several goroutines.
func many(client *goredis.Client) {
	var group sync.WaitGroup
	for worker := 0; worker < 20; worker++ {
		group.Add(1)
		go func(worker int) {
			defer group.Done()
			for number := 0; number < keys; number++ {
				key := fmt.Sprintf("worker:%d:%d", worker, number)
				must(client.Set(key, number, 0).Err())
				same(strconv.Itoa(number), client.Get(key).Val())
			}
		}(worker)
	}
	group.Wait()
}

func redigo(address string) {
	pool := &redis.Pool{MaxIdle: 3, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", address) }}
	connection := pool.Get()
	defer connection.Close()
	for number := 0; number < keys; number++ {
		must(connection.Send("SET", user(number), number))
		must(connection.Send("GET", user(number)))
	}
	must(connection.Flush())
	for number := 0; number < keys; number++ {
		_, err := connection.Receive()
		must(err)
		value, err := redis.Int(connection.Receive())
		must(err)
		same(number, value)
	}
	script := redis.NewScript(1, "return {KEYS[1], ARGV[1]}")
	reply, err := redis.Strings(script.Do(connection, "key", "argument"))
	must(err)
	same([]string{"key", "argument"}, reply)
	must(connection.Send("MULTI"))
	must(connection.Send("SET", "{order:2}:state", "paid"))
	must(connection.Send("INCR", "{order:2}:count"))
	results, err := redis.Values(connection.Do("EXEC"))
	must(err)
	same(int64(1), results[1])
}

func main() {
	address := os.Args[1] + ":" + os.Args[2]
	client := goredis.NewClient(&goredis.Options{Addr: address})
	same("PONG", client.Ping().Val())
	values(client)
	pipelines(client)
	containers(client)
	transactions(client)
	messages(client)
	many(client)
	must(client.Close())
	redigo(address)
	fmt.Println("go-redis and redigo have done their job")
}
