package app

import (
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"firebreak/agent/metrics"
)

// freePort is one of loopback that nobody had a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func scrape(t *testing.T, addr string) (page string) {
	t.Helper()
	until(t, "the metrics are served", func() bool {
		c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		r, err := c.Get("http://" + addr + "/metrics")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		page = string(b)
		return err == nil && r.StatusCode == 200
	})
	return page
}

func figure(t *testing.T, page, name string) float64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no %s in\n%s", name, page)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A running agent tells every family of docs/metrics.md, of itself and of this room; and scrapers that hang
// hold up neither the loop nor the end of the agent.
func TestMetrics(t *testing.T) {
	addr := freePort(t)
	c, text := room(t, append(in(t.TempDir()), `agent  = "b3-rack1"`, "agent  = \"b3-rack1\"\nmetrics = \""+addr+"\"")...)
	life(t, c, text, func(r Running) {
		var page string
		until(t, "the plans are told", func() bool { page = scrape(t, addr); return strings.Contains(page, "firebreak_plan_stage{") })
		for _, name := range []string{"status", "points", "uplink", "drills", "metrics", "history"} {
			figure(t, page, `firebreak_updates_dropped_total{publisher="`+name+`"}`)
		}
		for _, f := range metrics.Families {
			if f.Name != "firebreak_inbound_dropped_total" && !strings.Contains(page, "\n# TYPE "+f.Name+" "+f.Type+"\n") && !strings.HasPrefix(page, "# HELP "+f.Name+" ") {
				t.Errorf("the page lacks %s", f.Name)
			}
		}
		for name, want := range map[string]float64{`firebreak_journal_ok`: 1, `firebreak_plan_stage{plan="evacuate",stage="0"}`: 1, `firebreak_plan_armed{plan="evacuate"}`: 0,
			`firebreak_broker_connected{broker="` + c.Brokers[0].Name + `"}`: 0, `firebreak_epoch`: 0} {
			if got := figure(t, page, name); name != "firebreak_epoch" && got != want || name == "firebreak_epoch" && got == 0 {
				t.Errorf("%s is %g, want %g", name, got, want)
			}
		}
		if rss := figure(t, page, "process_resident_memory_bytes"); rss < 4<<20 || rss > 4<<30 {
			t.Errorf("%g bytes resident", rss)
		}
		for range 20 { // more than are served at once
			hung, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { hung.Close() })
		}
		was := r.Guard.Stats().Steps
		until(t, "the loop goes on", func() bool { return r.Guard.Stats().Steps > was+5 })
		until(t, "an alarm of this room is told in numbers", func() bool {
			return regexp.MustCompile(`(?m)^firebreak_alarms\{state="unacknowledged",priority="[1-4]"\} [1-9]`).MatchString(scrape(t, addr))
		})
	})
}
