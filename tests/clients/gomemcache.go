// gomemcache with its defaults: values, counters, cas, multi-gets. Called as "gomemcache HOST PORT SERVERS".
package main

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

func check(condition bool, what string) {
	if !condition {
		panic(what)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func values(client *memcache.Client) {
	must(client.Set(&memcache.Item{Key: "greeting", Value: []byte("hello"), Flags: 7, Expiration: 100}))
	item, err := client.Get("greeting")
	must(err)
	check(string(item.Value) == "hello" && item.Flags == 7, "get")
	_, err = client.Get("absent")
	check(err == memcache.ErrCacheMiss, "get of no key")
	check(client.Add(&memcache.Item{Key: "greeting", Value: []byte("x")}) == memcache.ErrNotStored, "add")
	must(client.Touch("greeting", 200))
	must(client.Delete("greeting"))
	check(client.Delete("greeting") == memcache.ErrCacheMiss, "delete of no key")
	must(client.Set(&memcache.Item{Key: "counter", Value: []byte("40")}))
	value, err := client.Increment("counter", 5)
	must(err)
	check(value == 45, "incr")
	large := bytes.Repeat([]byte("large\r\n"), 130000)
	must(client.Set(&memcache.Item{Key: "large", Value: large}))
	item, err = client.Get("large")
	must(err)
	check(bytes.Equal(item.Value, large), "a large value")
}

func cas(client *memcache.Client) {
	must(client.Set(&memcache.Item{Key: "balance", Value: []byte("10")}))
	first, err := client.Get("balance")
	must(err)
	second, err := client.Get("balance")
	must(err)
	first.Value = []byte("11")
	must(client.CompareAndSwap(first))
	second.Value = []byte("12")
	check(client.CompareAndSwap(second) == memcache.ErrCASConflict, "cas of a value that has changed")
}

func many(client *memcache.Client) {
	names := []string{"absent"}
	for number := 0; number < 50; number++ {
		name := fmt.Sprintf("user:%d", number)
		names = append(names, name)
		must(client.Set(&memcache.Item{Key: name, Value: []byte(name)}))
	}
	var group sync.WaitGroup
	for worker := 0; worker < 20; worker++ {
		group.Add(1)
		go func() {
			defer group.Done()
			found, err := client.GetMulti(names)
			must(err)
			check(len(found) == 50, "get of many")
			for name, item := range found {
				check(string(item.Value) == name, "a value of many")
			}
		}()
	}
	group.Wait()
}

func main() {
	client := memcache.New(os.Args[1] + ":" + os.Args[2])
	// The default timeout of 100 ms would fail on a busy machine.
	client.Timeout = 10 * time.Second
	values(client)
	cas(client)
	many(client)
	fmt.Println("gomemcache has done its job")
}
