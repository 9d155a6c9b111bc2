// Package metrics tells an agent's figures to Prometheus: the list of what there is, its text form, and
// the server that hands it out.
//
// Concurrency: a Page belongs to who fills it; Tally may be used from any goroutine; the server runs its own goroutines and waits for them. Failure: who scrapes may
// hang, flood or lie. A page is made whole before the first byte of it is sent, at most once in
// PageLife however many ask, and by nobody that the safety path waits for.
package metrics

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"firebreak/agent/latency"
)

// Family is one metric: all its samples, told apart by labels.
type Family struct {
	Name   string
	Type   string // counter, gauge, histogram
	Labels []string
	Help   string
}

// Page is one answer to a scrape. What is not in Families, or has other labels, is a fault of ours:
// it is left out and kept for the tests, since a scrape with the rest is worth more than none.
type Page struct {
	samples [len(Families)]strings.Builder
	faults  []string
}

func (p *Page) family(name string, labels []string) (int, bool) {
	for i := range Families {
		f := &Families[i]
		if f.Name != name {
			continue
		}
		if len(labels) != len(f.Labels) {
			p.faults = append(p.faults, fmt.Sprintf("%s has %d labels, want %d", name, len(labels), len(f.Labels)))
			return 0, false
		}
		return i, true
	}
	p.faults = append(p.faults, name+" is no known family")
	return 0, false
}

// Set adds a sample, with the values of the family's labels in their order.
func (p *Page) Set(name string, v float64, labels ...string) {
	if i, ok := p.family(name, labels); ok {
		p.sample(i, "", "", v, labels)
	}
}

// Count is Set for what is counted.
func (p *Page) Count(name string, n uint64, labels ...string) { p.Set(name, float64(n), labels...) }

// Is is Set for what is true or not.
func (p *Page) Is(name string, yes bool, labels ...string) {
	v := 0.0
	if yes {
		v = 1
	}
	p.Set(name, v, labels...)
}

// Took adds a histogram, in seconds.
func (p *Page) Took(name string, s latency.Snapshot, labels ...string) {
	i, ok := p.family(name, labels)
	if !ok {
		return
	}
	for b, n := range s.Upto {
		p.sample(i, "_bucket", text(latency.Bounds[b].Seconds()), float64(n), labels)
	}
	p.sample(i, "_bucket", "+Inf", float64(s.Count), labels)
	p.sample(i, "_sum", "", s.Sum.Seconds(), labels)
	p.sample(i, "_count", "", float64(s.Count), labels)
}

func (p *Page) sample(i int, suffix, le string, v float64, labels []string) {
	w := &p.samples[i]
	w.WriteString(Families[i].Name + suffix)
	sep := byte('{')
	for n, l := range Families[i].Labels {
		w.WriteByte(sep)
		w.WriteString(l + `="` + escape.Replace(labels[n]) + `"`)
		sep = ','
	}
	if le != "" {
		w.WriteByte(sep)
		w.WriteString(`le="` + le + `"`)
		sep = ','
	}
	if sep == ',' {
		w.WriteByte('}')
	}
	w.WriteString(" " + text(v) + "\n")
}

// escape is what the text format asks for in the value of a label.
var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func text(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// Text is the page in Prometheus' text format 0.0.4, family by family.
func (p *Page) Text() []byte {
	var w strings.Builder
	for i := range Families {
		if p.samples[i].Len() == 0 {
			continue
		}
		f := &Families[i]
		w.WriteString("# HELP " + f.Name + " " + f.Help + "\n# TYPE " + f.Name + " " + f.Type + "\n")
		w.WriteString(p.samples[i].String())
	}
	return []byte(w.String())
}

// Faults are what was left out.
func (p *Page) Faults() []string { return p.faults }
