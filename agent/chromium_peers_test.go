//go:build peers

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// chromium is a browser without a screen that is driven by its DevTools, over a pair of pipes.
type chromium struct {
	t    *testing.T
	to   io.Writer
	page string // session of the one page

	mu      sync.Mutex
	n       int
	waiting map[int]chan json.RawMessage
	faults  []string // what the page's console would show in red: exceptions, refused loads, breaches of the policy
}

// browse starts one; it reaches loopback alone.
func browse(t *testing.T) *chromium {
	t.Helper()
	read, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	cmd := osexec.Command("chromium", "--headless", "--no-sandbox", "--remote-debugging-pipe", "--user-data-dir="+dir, "--disable-gpu", "--disable-dev-shm-usage",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--no-first-run", "--no-proxy-server",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "about:blank")
	cmd.ExtraFiles = []*os.File{read, write} // 3 and 4
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: .ci/run says which packages the peer tests need", err)
	}
	read.Close()
	write.Close()
	b := &chromium{t: t, to: to, waiting: map[int]chan json.RawMessage{}}
	ended := make(chan struct{})
	go func() { defer close(ended); b.hear(from) }()
	t.Cleanup(func() {
		to.Close()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		from.Close()
		<-ended
		_ = os.RemoveAll(dir)
	})
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.page = attached.SessionID
	for _, m := range []string{"Page.enable", "Runtime.enable", "Log.enable", "Network.enable"} {
		b.call(m, nil, nil)
	}
	return b
}

// hear takes what the browser says until its end.
func (b *chromium) hear(from io.Reader) {
	for r := bufio.NewReader(from); ; {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m struct {
			ID            int
			Method        string
			Result, Error json.RawMessage
			Params        struct {
				Entry            struct{ Level, Text, URL string }
				ExceptionDetails json.RawMessage
			}
		}
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		switch {
		case m.Method == "Log.entryAdded" && m.Params.Entry.Level != "verbose" && m.Params.Entry.Level != "info":
			b.faults = append(b.faults, m.Params.Entry.Text+" "+m.Params.Entry.URL)
		case m.Method == "Runtime.exceptionThrown":
			b.faults = append(b.faults, string(m.Params.ExceptionDetails))
		case m.ID > 0 && b.waiting[m.ID] != nil:
			if m.Error != nil {
				m.Result = m.Error
			}
			b.waiting[m.ID] <- m.Result
			delete(b.waiting, m.ID)
		}
		b.mu.Unlock()
	}
}

func (b *chromium) call(method string, params map[string]any, out any) {
	b.t.Helper()
	if params == nil {
		params = map[string]any{}
	}
	b.mu.Lock()
	b.n++
	m := map[string]any{"id": b.n, "method": method, "params": params}
	if b.page != "" {
		m["sessionId"] = b.page
	}
	answer := make(chan json.RawMessage, 1)
	b.waiting[b.n] = answer
	text, err := json.Marshal(m)
	if err == nil {
		_, err = b.to.Write(append(text, 0))
	}
	b.mu.Unlock()
	if err != nil {
		b.t.Fatal(err)
	}
	select {
	case text := <-answer:
		if out != nil {
			if err := json.Unmarshal(text, out); err != nil {
				b.t.Fatalf("%s: %v: %s", method, err, text)
			}
		}
	case <-time.After(2 * patience):
		b.t.Fatalf("%s: the browser gives no answer", method)
	}
}

// eval is what an expression of the page gives, as text.
func (b *chromium) eval(expression string) string {
	b.t.Helper()
	var r struct {
		Result           struct{ Value any }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}, &r)
	if r.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, strings.ReplaceAll(string(r.ExceptionDetails), `\n`, "\n"))
	}
	return fmt.Sprint(r.Result.Value)
}

// sees waits until an expression of the page is true, looking whenever the page changes.
func (b *chromium) sees(is string) {
	b.t.Helper()
	b.eval(`new Promise((ok, no) => {
		const seen = () => { try { return ` + is + ` } catch { return false } };
		if (seen()) return ok();
		const o = new MutationObserver(() => { if (seen()) { o.disconnect(); ok(); } });
		o.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
		setTimeout(() => no("never seen; it shows:\n" + document.body.innerText), 30000);
	})`)
}

func (b *chromium) says(id, text string) {
	b.t.Helper()
	b.sees(fmt.Sprintf("document.getElementById(%q).textContent.includes(%q)", id, text))
}

func (b *chromium) screen(width, height int) {
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
}

// unfaulted says what the page's console shows in red, but for what is allowed.
func (b *chromium) unfaulted(but string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.faults {
		if but == "" || !strings.Contains(f, but) {
			b.t.Errorf("the page has a fault: %s", f)
		}
	}
}
