package wire

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"firebreak/agent/hazard"
	"firebreak/plugins"
	"firebreak/sensors"
)

// schemaDir is where the JSON Schemas stand, one for each kind of message, and asyncapi.json beside it.
const schemaDir = "../../docs/schemas"

// object is JSON whose keys are written sorted.
type object = map[string]any

// shapes are the messages that are made of a Go type: the chapter of docs/mqtt.md that describes its fields,
// and whether a field that is not known makes it refused.
var shapes = map[string]struct {
	of      any
	chapter string
	schema  string
	closed  bool
}{
	"status":  {StatusMessage{}, "status", SchemaStatus, false},
	"alarm":   {AlarmMessage{}, "alarm", SchemaAlarm, false},
	"plan":    {PlanMessage{}, "plan", SchemaPlan, false},
	"event":   {EventMessage{}, "event", SchemaEvent, false},
	"hello":   {HelloMessage{}, "hello", SchemaHello, false},
	"receipt": {ReceiptMessage{}, "receipt", SchemaReceipt, false},
	"command": {CommandMessage{}, "cmd", SchemaCommand, true},
}

func enum(names ...string) object {
	out := make([]any, len(names))
	for i, n := range names {
		out[i] = n
	}
	return object{"enum": out}
}

// alarmStates, stages and origins are those of the code.
func alarmStates() (out []string) {
	for s := hazard.Normal; s <= hazard.OutOfService; s++ {
		out = append(out, s.String())
	}
	return out
}

func stages() (out []string) {
	for s := plugins.Watch; s <= plugins.Isolate; s++ {
		out = append(out, s.String())
	}
	return out
}

func origins() (out []string) {
	for o := sensors.Real; o <= sensors.Replay; o++ {
		out = append(out, o.String())
	}
	return out
}

// limits are what a Go type does not say, by message and field; * is any message.
func limits() map[string]object {
	basis, is, stage := enum("measured", "held", "held-true", "bypassed", "inhibited"), enum("true", "false", "unknown"), enum(stages()...)
	one, none := object{"minimum": 1}, object{"minimum": 0}
	return map[string]object{
		"*.epoch": one, "*.seq": one, "*.agent": {"minLength": 1}, "*.instance": {"minLength": 1}, "*.site": {"minLength": 1}, "*.zone": {"minLength": 1},
		"*.mark": enum(plugins.MarkReal.String(), plugins.MarkDrill.String(), plugins.MarkDry.String()), "*.origin": enum(origins()...),
		"*.clock": enum("synced", "holdover", "unset"), "*.held_s": one, "*.ttl_s": one,
		"*.key_id": {"pattern": "^[0-9a-f]{16}$"}, "*.sig": {"pattern": "^[A-Za-z0-9+/]{86}$"},
		"*.vote.k": none, "*.vote.n": none, "*.vote.true": none, "*.vote.held": none, "*.vote.bad": none, "*.vote.bypassed": none, "plan.steps[].attempt": none,
		"*.vote.is": is, "*.vote.basis": basis, "*.evidence[].is": is, "*.evidence[].basis": basis,
		"alarm.state": enum(alarmStates()...), "alarm.priority": {"minimum": 1, "maximum": 4}, "alarm.basis": basis,
		"alarm.part9.ShelvingState": enum("Unshelved", "TimedShelved", "OneShotShelved"), "alarm.id": {"minLength": 1}, "alarm.hazard": {"minLength": 1},
		"plan.stage": stage, "plan.mode": enum("observe", "armed"), "plan.steps[].stage": stage, "plan.peer.stage": stage, "plan.outstanding[].stage": stage,
		"plan.plan": {"minLength": 1}, "event.type": {"minLength": 1},
		"status.reason": enum("lost", "stopped"), "status.points[].kind": enum("measurement", "binary", "state"),
		"hello.active_alarms.count": none, "hello.active_alarms.hash": {"pattern": "^[0-9a-f]{16}$"}, "hello.plans.count": none, "hello.plans.hash": {"pattern": "^[0-9a-f]{16}$"}, "hello.queued": none,
		"hello.challenge": {"minLength": 1}, "hello.gaps[].class": {"enum": []any{"alarm", "event", "plan", "state"}},
		"receipt.answer": enum(AnswerReceipt, AnswerAccept, AnswerDecline, AnswerDone), "receipt.of.class": enum("alarm", "plan"),
		"receipt.of.epoch": one, "receipt.of.seq": one, "receipt.consumer": {"minLength": 1},
		"command.order": {"minLength": 1}, "command.nonce": {"minLength": 16, "maxLength": 64}, "command.hello.epoch": one, "command.hello.seq": one,
	}
}

// maker makes the schema of one message out of its type, docs/mqtt.md and limits.
type maker struct {
	t      *testing.T
	name   string
	texts  map[string]string
	limits map[string]object
	used   map[string]bool
	closed bool
}

func (m *maker) limit(path string, s object) object {
	for _, key := range []string{"*." + path, m.name + "." + path} {
		l, ok := m.limits[key]
		if !ok {
			continue
		}
		m.used[key] = true
		for k, v := range l {
			s[k] = v
		}
	}
	if text := m.texts[path]; text != "" {
		s["description"] = text
	}
	return s
}

func (m *maker) schema(t reflect.Type, path string) object {
	switch t.Kind() {
	case reflect.Pointer:
		s := m.schema(t.Elem(), path)
		return s
	case reflect.String:
		return m.limit(path, object{"type": "string"})
	case reflect.Bool:
		return m.limit(path, object{"type": "boolean"})
	case reflect.Float64:
		return m.limit(path, object{"type": "number"})
	case reflect.Uint64:
		return m.limit(path, object{"type": "integer", "minimum": 0})
	case reflect.Int, reflect.Int64:
		return m.limit(path, object{"type": "integer"})
	case reflect.Slice:
		if t == reflect.TypeFor[json.RawMessage]() {
			return m.limit(path, object{})
		}
		return m.limit(path, object{"type": "array", "items": m.schema(t.Elem(), path+"[]")})
	case reflect.Map:
		return m.limit(path, object{"type": "object", "additionalProperties": m.schema(t.Elem(), path+"[]")})
	case reflect.Struct:
		s := object{"type": "object", "properties": object{}}
		m.fields(t, path, s)
		if m.closed {
			s["additionalProperties"] = false
		}
		return m.limit(path, s)
	}
	m.t.Fatalf("%s: no schema for %v", path, t)
	return nil
}

// fields adds those of a struct and of what it embeds. One without omitempty is always told; a pointer
// without it may be null.
func (m *maker) fields(t reflect.Type, path string, s object) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			m.fields(f.Type, path, s)
			continue
		}
		name, opt, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		below := strings.TrimPrefix(path+"."+name, ".")
		p := m.schema(f.Type, below)
		if opt != "omitempty" {
			required, _ := s["required"].([]any)
			s["required"] = append(required, name)
			if f.Type.Kind() == reflect.Pointer {
				p["type"] = []any{p["type"], "null"}
			}
		}
		s["properties"].(object)[name] = p
	}
}

// chapters reads the tables of docs/mqtt.md: chapter, field, meaning.
func chapters(t *testing.T) map[string]map[string]string {
	b, err := os.ReadFile("../../docs/mqtt.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]string{}
	line := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*) \\|$")
	for _, part := range strings.Split(string(b), "\n## ")[1:] {
		name, body, _ := strings.Cut(part, "\n")
		out[name] = map[string]string{}
		for _, m := range line.FindAllStringSubmatch(body, -1) {
			out[name][m[1]] = strings.ReplaceAll(m[2], "`", "")
		}
	}
	return out
}

const draft7 = "http://json-schema.org/draft-07/schema#"

// schemas makes all of them, by name.
func schemas(t *testing.T) map[string]object {
	out, text, all, used := map[string]object{}, chapters(t), limits(), map[string]bool{}
	for name, sh := range shapes {
		texts := map[string]string{}
		for _, c := range []string{"Common fields", "Last fields", "Signatures", sh.chapter} {
			for k, v := range text[c] {
				texts[k] = v
			}
		}
		m := &maker{t, name, texts, all, used, sh.closed}
		s := m.schema(reflect.TypeOf(sh.of), "")
		m.fields(reflect.TypeFor[Signature](), "", s)
		required := slices.DeleteFunc(s["required"].([]any), func(k any) bool { return k == "key_id" || k == "sig" })
		if name == "command" || name == "receipt" { // of others nothing is taken that is not signed
			required = append(required, "key_id", "sig")
		}
		s["required"] = required
		props := s["properties"].(object)
		props["schema"].(object)["const"] = sh.schema
		if name == "status" { // a will holds no time, and is no less a status
			props["seq"].(object)["minimum"] = 1
		}
		out[name] = titled(s, sh.schema)
	}
	for k := range all {
		if !used[k] {
			t.Errorf("the limit of %s is that of no field", k)
		}
	}
	out["state"], out["history"] = stateSchema(text, false), stateSchema(text, true)
	out["cosigned"] = titled(object{"type": "object", "additionalProperties": false, "required": []any{"schema", "command", "key_id", "sig"},
		"properties": object{"schema": object{"type": "string", "const": SchemaCosigned},
			"command": object{"type": "string", "minLength": 1, "description": "a whole signed command, as a string"},
			"key_id":  object{"type": "string", "pattern": "^[0-9a-f]{16}$"}, "sig": object{"type": "string", "pattern": "^[A-Za-z0-9+/]{86}$"}}}, SchemaCosigned)
	return out
}

func titled(s object, title string) object {
	s["$schema"], s["title"] = draft7, title
	return s
}

// stateSchema is of the one message that is no Go type: it is written byte by byte, with the points of its
// device as keys.
func stateSchema(text map[string]map[string]string, past bool) object {
	notes := object{"type": "string", "pattern": "^[^:,]+:[a-z-]+(,[^:,]+:[a-z-]+)*$"}
	nat := object{"type": "integer", "minimum": 1}
	s := object{"type": "object", "required": []any{"device", "epoch", "seq", "ts"}, "properties": object{
		"device": object{"type": "string", "minLength": 1}, "epoch": nat, "seq": nat, "ts": object{"type": "integer"},
		"origin": enum(origins()[1:]...), "bad": notes, "uncertain": notes, "replayed": object{"const": true},
		"key_id": object{"type": "string", "pattern": "^[0-9a-f]{16}$"}, "sig": object{"type": "string", "pattern": "^[A-Za-z0-9+/]{86}$"}},
		"additionalProperties": object{"type": []any{"number", "boolean", "null"}, "description": "a point of the device: its value in the unit told at birth; null: bad"}}
	if past {
		s["required"] = append(s["required"].([]any), "replayed")
		return titled(s, "firebreak history")
	}
	delete(s["properties"].(object), "replayed")
	return titled(s, "firebreak state")
}

// file compares what was made with what is in the repository; -update writes it.
func file(t *testing.T, path string, made any) {
	t.Helper()
	want, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != string(want) {
		t.Errorf("%s is not what the Go types say (%v): go test ./agent/wire -update, and read the difference: a field may be added and nothing else", path, err)
	}
}

// TestSchemas: the JSON Schemas in docs/schemas are those of the Go types, with what docs/mqtt.md says of each
// field, and no others stand there.
func TestSchemas(t *testing.T) {
	made := schemas(t)
	for name, s := range made {
		file(t, filepath.Join(schemaDir, name+".json"), s)
	}
	files, err := os.ReadDir(schemaDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if made[strings.TrimSuffix(f.Name(), ".json")] == nil {
			t.Errorf("docs/schemas/%s is of no message", f.Name())
		}
	}
}
