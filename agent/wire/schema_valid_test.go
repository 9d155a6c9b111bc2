package wire

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"firebreak/plugins"
	"firebreak/sensors"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiled are the schemas as they stand in the repository.
func compiled(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(schemaDir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	c, out := jsonschema.NewCompiler(), map[string]*jsonschema.Schema{}
	for _, f := range files {
		s, err := c.Compile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(f), ".json")] = s
	}
	return out
}

func decode(t *testing.T, payload []byte) object {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(payload)))
	if err != nil {
		t.Fatalf("%v: %s", err, payload)
	}
	return v.(object)
}

// messages are real ones, by a name that begins with that of their schema: the golden files, and what has none.
func messages(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for file, schema := range map[string]string{"alarm": "alarm", "plan": "plan", "plan-late": "plan", "plan-idle": "plan", "event": "event",
		"birth": "status", "will": "status", "stopped": "status", "hello": "hello"} {
		b, err := os.ReadFile("testdata/" + file + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		_, payload, _ := strings.Cut(string(b), "\n")
		out[schema+" "+file] = []byte(strings.TrimSpace(payload))
	}
	if files, _ := filepath.Glob("testdata/*.txt"); len(files) != len(out) {
		t.Errorf("%d golden files, %d validated: name the new ones here", len(files), len(out))
	}
	e := encoder(false)
	poll := plugins.Update{Wall: wall, State: &sensors.Batch{Readings: []sensors.Reading{
		{Point: 0, Value: 31.4, Quality: sensors.MakeQuality(sensors.Uncertain, sensors.Fast, sensors.Real)},
		{Point: 1, Quality: sensors.MakeQuality(sensors.Bad, sensors.Comm, sensors.Real)}, reading(2, 1, sensors.GoodQuality)}}}
	m, err := e.Encode(poll)
	if err != nil {
		t.Fatal(err)
	}
	out["state poll"] = m.Payload
	_, out["history poll"] = m.Past()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	sign := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return NewSigner(key).Sign("firebreak/1/x", b)
	}
	out["alarm signed"] = NewSigner(key).Sign("firebreak/1/x", out["alarm alarm"])
	out["receipt signed"] = sign(ReceiptMessage{Schema: SchemaReceipt, Consumer: "noc", Of: Ref{"0f3a", 41, "alarm", 9}, ID: "a/b", Answer: AnswerAccept, Ts: 1})
	command := sign(CommandMessage{Schema: SchemaCommand, Order: "trip", Name: "evacuate", Stage: "2b", Nonce: strings.Repeat("n", 16), Hello: HelloRef{"0f3a", 41, 7, "c0ffee"}})
	out["command signed"] = command
	out["cosigned signed"] = sign(CosignedMessage{SchemaCosigned, string(command)})
	return out
}

// free are the values that may be anything, or of more than one type, by schema and path.
var free = map[string]bool{"event.data": true, "state.battery.temperature": true, "state.input.voltage": true, "state.input.ok": true,
	"history.battery.temperature": true, "history.input.voltage": true, "history.input.ok": true, "event.data.a": true}

// TestSchemasAcceptAndRefuse: each real message is valid, and becomes invalid whichever of its fields gets
// another type, whichever required one is taken away, and whichever number that counts gets negative.
func TestSchemasAcceptAndRefuse(t *testing.T) {
	all := compiled(t)
	seen := map[string]bool{}
	for name, payload := range messages(t) {
		schema, _, _ := strings.Cut(name, " ")
		s := all[schema]
		if s == nil {
			t.Fatalf("no schema %s", schema)
		}
		seen[schema] = true
		if err := s.Validate(decode(t, payload)); err != nil {
			t.Errorf("%s: a real message is refused: %v", name, err)
			continue
		}
		for _, mutant := range mutants(decode(t, payload), schema) {
			whole := decode(t, payload)
			mutant.do(whole)
			if s.Validate(whole) == nil {
				t.Errorf("%s: still valid with %s", name, mutant.what)
			}
		}
	}
	for name := range all {
		if !seen[name] {
			t.Errorf("no message is held to docs/schemas/%s.json", name)
		}
	}
}

type mutant struct {
	what string
	do   func(whole object)
}

// mutants are all changes of one field of a message, at whatever depth, that make it wrong.
func mutants(whole object, schema string) (out []mutant) {
	var walk func(at object, path string, get func(object) object)
	walk = func(at object, path string, get func(object) object) {
		for _, k := range slices.Sorted(maps.Keys(at)) {
			here, v := path+"."+k, at[k]
			if free[here] {
				continue
			}
			out = append(out, mutant{here + " of another type", func(w object) { get(w)[k] = other(v) }})
			if n, ok := v.(json.Number); ok && !negative[k] {
				out = append(out, mutant{here + " negative", func(w object) { get(w)[k] = json.Number("-" + string(n) + "1") }})
			}
			switch v := v.(type) {
			case object:
				walk(v, here, func(w object) object { return get(w)[k].(object) })
			case []any:
				for i, item := range v {
					if o, ok := item.(object); ok {
						walk(o, here, func(w object) object { return get(w)[k].([]any)[i].(object) })
					} else {
						out = append(out, mutant{fmt.Sprintf("%s[%d] of another type", here, i), func(w object) { get(w)[k].([]any)[i] = other(item) }})
					}
				}
			}
		}
	}
	walk(whole, schema, func(w object) object { return w })
	for _, k := range []string{"schema", "agent", "epoch", "seq", "age_s", "clock", "device", "sig", "nonce", "answer", "of", "challenge", "command"} {
		if _, ok := whole[k]; ok && !(k == "sig" && schema == "alarm") {
			out = append(out, mutant{"no " + k, func(w object) { delete(w, k) }})
		}
	}
	for _, k := range []string{"schema", "state", "mark", "origin", "clock", "stage", "mode", "basis", "answer", "reason", "key_id", "sig", "bad"} {
		if s, ok := whole[k].(string); ok && s != "" && !(k == "stage" && (schema == "event" || schema == "command")) {
			out = append(out, mutant{k + " that nobody knows", func(w object) { w[k] = "bogus !" }})
		}
	}
	return out
}

// negative are fields that may be: measured values, times of a wrong clock, and what is left of a time that is over.
var negative = map[string]bool{"value": true, "ts": true, "started": true, "age_s": true, "age_ms": true, "since_ms": true, "hold_s": true, "act_by_s": true,
	"earliest": true, "likely": true, "3": true, "4": true}

// other is a value of a type that v has not.
func other(v any) any {
	switch v.(type) {
	case string:
		return json.Number("7")
	case object, []any:
		return "x"
	}
	return object{"x": "y"}
}
