package config

import "github.com/pelletier/go-toml/v2/unstable"

// List reads a list of strings as it stands, such as the words of a command: they may be empty and
// may come twice.
func (t *Table) List(key string) []string {
	v := t.get(key, `a list of strings, such as ["/bin/prog", "-x"]`, unstable.Array)
	if v == nil {
		return nil
	}
	var out []string
	for _, e := range v.list {
		if e.kind != unstable.String {
			t.src.fault(e.at, "%q must hold strings in quotes", key)
			continue
		}
		out = append(out, e.s)
	}
	return out
}
