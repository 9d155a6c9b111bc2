package wire

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestFieldsAreDocumented compares the JSON keys of the messages with the tables of docs/mqtt.md,
// both ways.
func TestFieldsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/mqtt.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := tables(string(text))
	for section, v := range map[string]any{"Common fields": Head{}, "Last fields": Trust{}, "status": StatusMessage{},
		"alarm": AlarmMessage{}, "plan": PlanMessage{}, "event": EventMessage{}, "hello": HelloMessage{}, "Signatures": Signature{}, "receipt": ReceiptMessage{}, "cmd": CommandMessage{}} {
		want := keys(reflect.TypeOf(v), "")
		got := documented[section]
		if len(want) == 0 || len(got) == 0 {
			t.Errorf("%s: %d keys, %d documented", section, len(want), len(got))
		}
		for _, k := range want {
			if !slices.Contains(got, k) {
				t.Errorf("%s: %s is told and not documented", section, k)
			}
		}
		for _, k := range got {
			if !slices.Contains(want, k) {
				t.Errorf("%s: %s is documented and never told", section, k)
			}
		}
	}
	reserved := string(text)[strings.Index(string(text), "## Reserved names"):]
	for _, k := range append(documented["plan"], documented["Last fields"]...) {
		first, _, _ := strings.Cut(reserved, ";")
		if strings.Contains(first, "`"+k+"`") {
			t.Errorf("%s is told, and reserved too", k)
		}
	}
}

var row = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

// tables finds the first column of the tables of each chapter.
func tables(doc string) map[string][]string {
	out := map[string][]string{}
	for _, part := range strings.Split(doc, "\n## ")[1:] {
		name, body, _ := strings.Cut(part, "\n")
		for _, m := range row.FindAllStringSubmatch(body, -1) {
			out[name] = append(out[name], m[1])
		}
	}
	return out
}

// keys lists the JSON keys of a struct: a.b of a nested one, a[].b of a list of them. What is
// embedded has a chapter of its own, but for the outermost.
func keys(t reflect.Type, prefix string) (out []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		out = append(out, prefix+name)
		ft, below := f.Type, prefix+name+"."
		for ft != reflect.TypeFor[json.RawMessage]() && (ft.Kind() == reflect.Pointer || ft.Kind() == reflect.Slice) {
			if ft.Kind() == reflect.Slice {
				below = prefix + name + "[]."
			}
			ft = ft.Elem()
		}
		if ft.Kind() == reflect.Struct {
			out = append(out, keys(ft, below)...)
		}
	}
	return out
}

// TestSeveritiesAreDocumented holds the table of docs/mqtt.md to the one in code, row by row.
func TestSeveritiesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/mqtt.md")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(text), "\n## Severities\n")
	body, _, _ = strings.Cut(body, "\n## ")
	var rows []string
	for _, l := range strings.Split(body, "\n") {
		if strings.HasPrefix(l, "| P") {
			rows = append(rows, l)
		}
	}
	var want []string
	for _, s := range Severities() {
		want = append(want, fmt.Sprintf("| P%d | %s | %s | %s, %d | %s | %d |", s.Priority, s.Means, s.Event, s.Level, s.Number, s.PagerDuty, s.Syslog))
	}
	if !slices.Equal(rows, want) {
		t.Errorf("the table says\n%s\nand the code\n%s", strings.Join(rows, "\n"), strings.Join(want, "\n"))
	}
	for _, p := range []int{0, 1, -3, 5, 100} {
		if SeverityOf(p).Priority != 1 {
			t.Errorf("priority %d is taken for %d", p, SeverityOf(p).Priority)
		}
	}
}
