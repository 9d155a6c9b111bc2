// Command plain publishes polls of readings as somebody would with paho alone and its defaults, one after the
// other, and prints what that took: nanoseconds of processor time, and bytes that went to the broker.
//
//	plain BROKER POLLS READINGS
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

type counted struct {
	net.Conn
	sent *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent.Add(int64(n))
	return n, err
}

func cpu() int64 {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return r.Utime.Nano() + r.Stime.Nano()
}

func main() {
	polls, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	readings, err := strconv.Atoi(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	var sent atomic.Int64
	o := mqtt.NewClientOptions().AddBroker("tcp://" + os.Args[1]).SetClientID("plain")
	o.SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
		c, err := net.Dial("tcp", u.Host)
		return counted{c, &sent}, err
	})
	c := mqtt.NewClient(o)
	if t := c.Connect(); t.Wait() && t.Error() != nil {
		log.Fatal(t.Error())
	}
	before, from := cpu(), sent.Load()
	for range polls {
		values := make(map[string]float64, readings)
		for k := range readings {
			values[fmt.Sprintf("module.%d.temperature", k)] = 20 + float64(k)*0.1
		}
		body, _ := json.Marshal(values) // numbers: it cannot fail
		if t := c.Publish("plain/ups-a", 1, false, body); t.Wait() && t.Error() != nil {
			log.Fatal(t.Error())
		}
	}
	fmt.Println(cpu()-before, sent.Load()-from)
}
