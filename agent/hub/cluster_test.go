package hub

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/agent/uplink"
	"firebreak/agent/wire"
	"firebreak/agent/wire/session"
	"firebreak/plugins"
)

// nodeEnv makes this test binary one node of a cluster, so that it can be killed as a process is.
const nodeEnv = "FIREBREAK_HUB_NODE"

func TestMain(m *testing.M) {
	text := os.Getenv(nodeEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	var c Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		panic(err)
	}
	c.Users = func(cn string) (Rights, bool) {
		return Rights{Write: []string{"firebreak/1/#"}, Read: []string{"firebreak/1/#"}}, cn == "rack1" || cn == "noc"
	}
	h, err := Open(c)
	if err != nil {
		panic(err)
	}
	fmt.Println(h.Port())
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test is over
	h.Close()
}

// node is one hub in a process of its own.
type node struct {
	addr string
	kill func()
}

// startNode starts one; ready waits for it.
func startNode(t *testing.T, c Config) (n node, ready func() string) {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), nodeEnv+"="+string(text)), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = in.Close(); _ = cmd.Wait() })
	t.Cleanup(kill)
	return node{kill: kill}, func() string {
		port, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatalf("node %s does not start: %v", c.Name, err)
		}
		return "127.0.0.1:" + strings.TrimSpace(port)
	}
}

// freePorts are addresses of loopback that nobody had a moment ago.
func freePorts(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close() // all are taken before one is given back
		addrs = append(addrs, ln.Addr().String())
	}
	return addrs
}

// startCluster starts three hubs that know each other by their certificates.
func startCluster(t *testing.T) ([]node, *authority) {
	t.Helper()
	a := newAuthority(t)
	names := []string{"hub1", "hub2", "hub3"}
	for _, cn := range append(slices.Clone(names), "rack1", "noc") {
		a.issue(cn)
	}
	routes := freePorts(t, len(names))
	nodes, ready := make([]node, len(names)), make([]func() string, len(names))
	for i, n := range names {
		nodes[i], ready[i] = startNode(t, Config{Name: n, Listen: "127.0.0.1:0", Dir: t.TempDir(), TLS: a.tls(n), HistoryAge: time.Hour,
			Cluster: &Cluster{Name: "site", Listen: routes[i], Peers: names, Routes: slices.Delete(slices.Clone(routes), i, i+1)}})
	}
	for i := range nodes {
		nodes[i].addr = ready[i]() // none is ready before another is there
	}
	return nodes, a
}

// alarms is what a consumer has heard: the newest state of each.
type alarms struct {
	mu     sync.Mutex
	active map[string]bool
	seqs   map[uint64]bool
	more   chan struct{}
}

func (a *alarms) heard(_ string, payload []byte, _ bool) {
	var m wire.AlarmMessage
	if json.Unmarshal(payload, &m) != nil || m.Hazard == "" {
		return // an echo
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.active[m.Hazard], a.seqs[m.Seq] = m.Active, true
	select {
	case a.more <- struct{}{}:
	default:
	}
}

func (a *alarms) await(t *testing.T, what string, want int, within time.Duration) {
	t.Helper()
	if n := a.count(want, within); n != want {
		t.Fatalf("%s: %d of %d alarms", what, n, want)
	}
}

// count is the number of active alarms, as soon as it is the one wanted or when the time is over.
func (a *alarms) count(want int, within time.Duration) int {
	late := time.After(within)
	for {
		a.mu.Lock()
		n := 0
		for _, active := range a.active {
			if active {
				n++
			}
		}
		a.mu.Unlock()
		if n == want {
			return n
		}
		select {
		case <-a.more:
		case <-late:
			return n
		}
	}
}

// listenTo subscribes at one node, as often as it takes: a cluster elects its leaders first.
func listenTo(t *testing.T, a *authority, addr, id string, within time.Duration) *alarms {
	t.Helper()
	got := &alarms{active: map[string]bool{}, seqs: map[uint64]bool{}, more: make(chan struct{}, 1)}
	sc := session.Config{URL: "mqtts://" + addr, ClientID: id}
	if err := (&session.Files{CA: a.file("ca.pem"), Cert: a.file("noc.pem"), Key: a.file("noc.key")}).Apply(&sc, time.Now); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for {
		s, err := session.Connect(ctx, sc)
		if err == nil {
			if err = s.Subscribe(ctx, "firebreak/1/alarm/#", 1, got.heard); err == nil {
				t.Cleanup(func() { s.Abort(errors.New("over")); s.Wait() })
				return got
			}
			s.Abort(err)
			s.Wait()
		}
		if ctx.Err() != nil {
			t.Fatalf("no subscription at %s: %v", addr, err)
		}
	}
}

// retained subscribes anew until all alarms stand: who comes before the cluster has retained one, but after
// it was handed over, does not get it at all.
func retained(t *testing.T, a *authority, addr string, want int, limit time.Duration) {
	t.Helper()
	for from, n := time.Now(), 0; ; n++ {
		got := listenTo(t, a, addr, fmt.Sprint("noc:late-", n), limit).count(want, 2*time.Second)
		if got == want {
			return
		}
		if time.Since(from) > limit {
			t.Fatalf("retained at the second hub: %d of %d alarms", got, want)
		}
	}
}

// Three hubs, and the one that an agent is connected to is killed in the middle of its alarms: the agent finds
// another by the same name, a consumer at the third hears each alarm, and the cluster has each one retained.
func TestClusterLosesNoAlarm(t *testing.T) {
	const count, killAt, limit = 200, 80, 50 * time.Second
	nodes, a := startCluster(t)
	noc := listenTo(t, a, nodes[2].addr, "noc", limit)

	dial := func(ctx context.Context, network, _ string) (c net.Conn, err error) { // the name of the site's hubs has three addresses
		for _, n := range nodes {
			if c, err = (&net.Dialer{}).DialContext(ctx, network, n.addr); err == nil {
				return c, nil
			}
		}
		return nil, err
	}
	u, err := uplink.New(uplink.Config{Site: "site", Zone: "zone", Agent: "rack1", Epoch: 1, Instance: "i1", HelloEvery: time.Second, Dial: dial,
		Brokers: []uplink.Broker{{Name: "site", URL: "mqtts://127.0.0.1:8883", CAFile: a.file("ca.pem"), CertFile: a.file("rack1.pem"), KeyFile: a.file("rack1.key")}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- u.Run(ctx) }()
	defer func() { stop(); <-ended }()

	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(limit)
	for s := u.Stats().Brokers[0]; !s.Connected || !s.Granted; s = u.Stats().Brokers[0] {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("the agent is not granted: %+v", s)
		}
	}
	for i := range count {
		if i == killAt {
			nodes[0].kill()
		}
		u.Offer(plugins.Update{Wall: time.Now(), Alarm: &plugins.AlarmState{Name: fmt.Sprint("hot-", i), Occurrence: 1, State: "unacknowledged", Active: true, Priority: 1, Origin: "real"}})
		<-tick.C // an alarm each 10 ms: the kill falls among them
	}
	noc.await(t, "the consumer at the third hub", count, limit)
	retained(t, a, nodes[1].addr, count, limit)
	noc.mu.Lock()
	defer noc.mu.Unlock()
	if s := u.Stats().Brokers[0]; s.Sessions < 2 || s.Dropped != (wire.Drops{}) {
		t.Errorf("the agent was not cut off, or has dropped something: %+v", s)
	}
	t.Logf("%d alarms, %d messages of them heard", count, len(noc.seqs))
}

// Nodes in plain text are for tests on one host: whoever can reach one is let in.
func TestClusterNeedsTLS(t *testing.T) {
	for _, c := range []Cluster{{Listen: "0.0.0.0:0"}, {Listen: ":0"}, {Listen: "10.0.5.1:6222"}, {Listen: "localhost:0"}, {Listen: "127.0.0.1:0", Routes: []string{"127.0.0.1:1", "hub2.b1.example:6222"}}} {
		c.Name = "pangyo"
		h, err := Open(Config{Name: "hub", Listen: "127.0.0.1:0", Dir: t.TempDir(), Cluster: &c})
		if err == nil {
			h.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "plain text") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
