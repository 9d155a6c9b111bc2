package config

import (
	"fmt"
	"strings"
	"testing"
)

const (
	hazardsPage = "../../docs/hazards.md"
	hazardsMark = "\n## The packs\n"
)

// docs/hazards.md lists every detector and vote of every pack with its source, as the files have them, and which
// points of which profile they find.
// What stands before the list is written by hand.
func TestHazardsPage(t *testing.T) {
	page := string(readFile(t, hazardsPage))
	intro, _, ok := strings.Cut(page, hazardsMark)
	if !ok {
		t.Fatalf("%s has no section \"The packs\"", hazardsPage)
	}
	var b strings.Builder
	b.WriteString(intro + hazardsMark)
	for _, f := range shippedPacks(t) {
		writePack(&b, f)
	}
	writeProfiles(&b, profileFeeds(t), packGaps(t))
	golden(t, hazardsPage, []byte(b.String()))
}

func writePack(b *strings.Builder, f *packFile) {
	fmt.Fprintf(b, "\n### %s\n\n%s%s.", f.name, strings.ToUpper(f.title[:1]), f.title[1:])
	if len(f.with) > 0 {
		fmt.Fprintf(b, " It brings along: %s.", strings.Join(f.with, ", "))
	}
	fmt.Fprintf(b, "\n\nDelays: %s.\n", f.tab.text("delays"))
	if len(f.roles) > 0 {
		b.WriteString("\n| role | points | found by the names |\n|---|---|---|\n")
		for _, r := range f.roles {
			by := "the site says which: `roles`"
			if len(r.channels) > 0 {
				by = "`" + strings.Join(r.channels, "`, `") + "`"
			}
			if len(r.unless) > 0 {
				by += ", on a device without `" + strings.Join(r.unless, "` and `") + "`"
			}
			fmt.Fprintf(b, "| `%s` | %s | %s |\n", r.name, r.does, by)
		}
	}
	if len(f.detectors) > 0 {
		b.WriteString("\n| detector | true when | of role | for | source |\n|---|---|---|---|---|\n")
		for _, d := range f.detectors {
			delay := d.text("on_delay")
			if delay == "" {
				delay = "-"
			}
			fmt.Fprintf(b, "| `%s` | %s: %s | `%s` | %s | %s |\n", d.text("name"), d.text("does"), comparisonText(d), d.text("role"), delay, d.text("source"))
		}
	}
	if len(f.votes) > 0 {
		b.WriteString("\n| vote | true when | of | source |\n|---|---|---|---|\n")
		for _, v := range f.votes {
			need := v.text("need")
			if v.text("independent") == "true" {
				need += ", independent,"
			}
			fmt.Fprintf(b, "| `%s` | %s | %s of %s | %s |\n", v.text("name"), v.text("does"), need, v.text("of"), v.text("source"))
		}
	}
}

// comparisonText is what a detector compares, as its file says it.
func comparisonText(d *Table) string {
	key := d.comparisonKey()
	s := key + " " + d.text(key)
	for _, k := range []string{"from", "floor", "learn", "limit"} {
		if d.Has(k) {
			s += ", " + k + " " + d.text(k)
		}
	}
	return s
}
