package config

import (
	"fmt"
	"strings"
)

// pack prints what a pack has become at this site, and what the file says otherwise than the pack.
func (p *printer) pack(r *PackReport) {
	p.line("")
	title := "pack " + r.Name
	if r.Prefix != "" {
		title += ", its names with " + r.Prefix + " before them"
	}
	if len(r.With) > 0 {
		title += ", with " + strings.Join(r.With, ", ")
	}
	p.line("%s: %s", title, r.Title)
	for _, role := range r.Roles {
		if len(role.Points) > 0 {
			p.line("  %s", role)
		}
	}
	for _, v := range r.Votes {
		if v.Alarm {
			p.line("  vote %s, %s", v.Name, v.Does)
		}
	}
	p.leftOut(r.Left)
	for _, k := range r.Changes {
		p.line("  pack %s: %s", r.Name, k)
	}
	if len(r.Changes) == 0 {
		p.line("  the file changes nothing of it")
	}
}

// leftOut prints what this site cannot have, by reason; votes that have lost their members come last.
func (p *printer) leftOut(left []LeftOut) {
	var votes []string
	for i := 0; i < len(left); {
		names, k := []string(nil), i
		for ; k < len(left) && left[k].Why == left[i].Why; k++ {
			names = append(names, left[k].Name)
		}
		if left[i].Vote {
			votes = append(votes, names...)
		} else {
			p.line("  left out: %s (%s)", strings.Join(names, ", "), left[i].Why)
		}
		i = k
	}
	if len(votes) > 0 {
		p.line("  left out with them: the votes %s", strings.Join(votes, ", "))
	}
}

// maxRolePoints is how many points of a role are named; the rest is counted.
const maxRolePoints = 4

func (r RoleReport) String() string {
	names := r.Points[:min(len(r.Points), maxRolePoints)]
	s := fmt.Sprintf("role %s, %s: %s", r.Name, r.Does, strings.Join(names, ", "))
	if n := len(r.Points) - len(names); n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}
