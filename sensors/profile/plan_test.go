package profile

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// allowed tells, by the letter of the rules and not by way of the planner, whether the channels may be
// read by one request.
func allowed(p *Profile, items []int) bool {
	spans := make([]Span, len(items))
	for k, i := range items {
		spans[k] = p.Channels[i].Span()
	}
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Count, b.Count)) })
	for _, block := range p.Read.Blocks {
		if in := slices.ContainsFunc(spans, func(s Span) bool { return s.Touches(block) }); in {
			return !slices.ContainsFunc(spans, func(s Span) bool { return !block.Holds(s) })
		}
	}
	whole := Span{spans[0].Func, spans[0].First, 0}
	end := spans[0].End()
	for _, s := range spans {
		if s.Func != whole.Func || int(s.First)-end > p.Read.MaxGap || p.Read.Single && s != spans[0] {
			return false
		}
		end = max(end, s.End())
	}
	whole.Count = uint16(end - int(whole.First))
	limit := p.Read.MaxWords
	if whole.Func.Bits() {
		limit = p.Read.MaxBits
	}
	touches := func(s Span) bool { return s.Touches(whole) }
	return int(whole.Count) <= limit && !slices.ContainsFunc(p.Read.Forbidden, touches) && !slices.ContainsFunc(p.Read.Blocks, touches)
}

// fewest tries every way to divide the channels among requests.
func fewest(p *Profile) int {
	best := len(p.Channels)
	var groups [][]int
	var place func(i int)
	place = func(i int) {
		if len(groups) >= best {
			return
		}
		if i == len(p.Channels) {
			if !slices.ContainsFunc(groups, func(g []int) bool { return !allowed(p, g) }) {
				best = len(groups)
			}
			return
		}
		for k := range groups {
			groups[k] = append(groups[k], i)
			place(i + 1)
			groups[k] = groups[k][:len(groups[k])-1]
		}
		groups = append(groups, []int{i})
		place(i + 1)
		groups = groups[:len(groups)-1]
	}
	place(0)
	return best
}

// Nobody can read the same channels in fewer requests.
func TestPlanIsTheBest(t *testing.T) {
	joined := 0
	rapid.Check(t, func(rt *rapid.T) {
		p := &Profile{Bus: Modbus, Read: ReadRules{
			MaxWords: rapid.IntRange(2, 12).Draw(rt, "words"), MaxBits: rapid.IntRange(1, 12).Draw(rt, "bits"),
			MaxGap: rapid.IntRange(0, 6).Draw(rt, "gap"), Single: rapid.IntRange(0, 9).Draw(rt, "single") == 0,
		}}
		if !p.Read.Single {
			p.Read.Blocks = []Span{{Holding, 10, 2}}
		}
		p.Read.Forbidden = []Span{{Holding, uint16(rapid.IntRange(0, 4).Draw(rt, "forbidden") * 2), 2}}
		for range rapid.IntRange(1, 7).Draw(rt, "channels") {
			c := Channel{Func: Function(rapid.IntRange(2, 3).Draw(rt, "function")), Address: uint16(rapid.IntRange(0, 11).Draw(rt, "address") * 2)}
			if !c.Func.Bits() {
				c.Type = []Type{U16, U32}[rapid.IntRange(0, 1).Draw(rt, "type")]
			}
			s := c.Span()
			if !slices.ContainsFunc(p.Read.Forbidden, func(f Span) bool { return f.Touches(s) }) &&
				!slices.ContainsFunc(p.Channels, func(o Channel) bool { return o.Span().Touches(s) && o.Span() != s }) {
				p.Channels = append(p.Channels, c)
			}
		}
		if len(p.Channels) == 0 {
			return
		}
		plan := p.Plan()
		checkPlan(rt, p, plan)
		if best := fewest(p); len(plan) != best {
			rt.Fatalf("%d requests, %d are enough: %+v of %+v", len(plan), best, plan, p.Channels)
		}
		if len(plan) < len(p.Channels) {
			joined++
		}
	})
	if joined == 0 {
		t.Error("no case joined anything")
	}
}

func TestSingle(t *testing.T) {
	p, err := Parse("x.toml", []byte("name = \"x\"\ntitle = \"x\"\nbus = \"modbus\"\nsource = \"x\"\n[read]\nsingle = true\n"+
		"[[channel]]\nname = \"a.*\"\nfunction = \"input\"\naddress = 5\ncount = 4\n[[channel]]\nname = \"b\"\nfunction = \"input\"\naddress = 20\nbit = 1\n"+
		"[[channel]]\nname = \"c\"\nfunction = \"input\"\naddress = 20\nbit = 2\n"))
	if err != nil {
		t.Fatal(err)
	}
	if plan := p.Plan(); len(plan) != 5 {
		t.Errorf("%d requests: %v; want each register alone, and two bits of one together", len(plan), plan)
	}
}

// wire is how long one round takes at 9600 baud and 11 bits a character: requests, replies, and the
// silence that profile or t3.5 demands. The device's own time is left out.
func wire(p *Profile, spans []Span) float64 {
	chars, gap := 0, max(3.5*11/9600, p.Read.FrameGap.Seconds())
	for _, s := range spans {
		data := 2 * int(s.Count)
		if s.Func.Bits() {
			data = (int(s.Count) + 7) / 8
		}
		chars += 8 + 5 + data
	}
	return float64(chars)*11/9600 + gap*float64(len(spans))
}

// docs/figures.md says what the planner is worth on each shipped profile.
func TestPlanTable(t *testing.T) {
	doc, err := os.ReadFile("../../docs/figures.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range shipped(t) {
		if p.Bus != Modbus {
			continue
		}
		var plan, each []Span
		for _, b := range p.Plan() {
			plan = append(plan, b.Span)
		}
		for i := range p.Channels {
			each = append(each, p.Channels[i].Span())
		}
		row := fmt.Sprintf("| `%s` | %d | %d, %.2f s | %d, %.2f s |", p.Name, len(p.Channels), len(plan), wire(p, plan), len(each), wire(p, each))
		if !strings.Contains(string(doc), row) {
			t.Errorf("docs/figures.md lacks the row\n%s", row)
		}
	}
}
