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
		p.line("  vote %s: %s", v.Name, v.Does)
	}
	for _, l := range r.Left {
		p.line("  left out: %s", l)
	}
	for _, k := range r.Changes {
		p.line("  changed: pack %s: %s", r.Name, k)
	}
	if len(r.Changes) == 0 {
		p.line("  the file changes nothing of the pack")
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
