// Command plain is what somebody would write with goburrow and paho alone, with their defaults: each
// device is read once an interval, and what it said is published. It runs a hook when a register is
// above its limit. The benchmarks run it beside firebreak.
//
//	plain BROKER INTERVAL LIMIT FIFO STAMP PORT...
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strconv"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/goburrow/modbus"
)

const registers = 100

func main() {
	broker, fifo := os.Args[1], os.Args[4]
	interval, err := time.ParseDuration(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	limit, err := strconv.ParseFloat(os.Args[3], 64)
	if err != nil {
		log.Fatal(err)
	}
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + broker).SetClientID("plain"))
	if t := c.Connect(); t.Wait() && t.Error() != nil {
		log.Fatal(t.Error())
	}
	for i, port := range os.Args[6:] {
		go poll(c, i, "127.0.0.1:"+port, interval, limit, fifo, os.Args[5])
	}
	select {}
}

func poll(c mqtt.Client, device int, address string, interval time.Duration, limit float64, fifo, stamp string) {
	h := modbus.NewTCPClientHandler(address)
	h.SlaveId = 1
	client := modbus.NewClient(h)
	above := false
	for range time.Tick(interval) {
		raw, err := client.ReadHoldingRegisters(0, registers)
		if err != nil {
			log.Print(err)
			h.Close()
			continue
		}
		values := make(map[string]float64, registers)
		for k := range registers {
			values[fmt.Sprintf("v.%d", k)] = float64(binary.BigEndian.Uint16(raw[2*k:]))
		}
		was := above
		if above = values["v.0"] > limit; above && !was {
			cmd := exec.Command(stamp, fifo, "tell-hot")
			if err := cmd.Run(); err != nil {
				log.Print(err)
			}
		}
		body, _ := json.Marshal(values)
		if t := c.Publish(fmt.Sprintf("plain/d%d", device), 1, false, body); t.Wait() && t.Error() != nil {
			log.Print(t.Error())
		}
	}
}
