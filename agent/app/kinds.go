package app

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"firebreak/agent/config"
	"firebreak/configs"
	"firebreak/plugins"
	"firebreak/plugins/hooks/exec"
	"firebreak/plugins/hooks/modbus"
	"firebreak/plugins/hooks/mqtt"
	"firebreak/plugins/hooks/nut"
	"firebreak/plugins/hooks/webhook"
	"firebreak/plugins/reread"
	"firebreak/sensors"
)

// maxWait bounds every time that a hook's configuration may name.
const maxWait = time.Hour

// Kinds is the only list of concrete kinds: hooks by name, and the profiles that ship inside.
func Kinds() config.Kinds {
	return config.Kinds{
		Profiles: configs.Profiles(),
		Packs:    configs.Hazards(),
		Hooks:    map[string]config.HookKind{"exec": execKind, "modbus": modbusKind, "mqtt": mqttKind, "nut": nutKind, "webhook": webhookKind},
	}
}

func execKind(t *config.Table) any {
	c := exec.Config{
		Action:       t.String("action", ""),
		Helper:       t.String("helper", ""),
		HelperUID:    uint32(t.Int("helper_uid", 0, 0, 1<<32-1)),
		Command:      t.List("command"),
		Dir:          t.String("dir", ""),
		Drill:        t.Enum("drill", "", "native", "dry-run"),
		OutputLimit:  int(t.Int("output_limit", 0, 0, 1<<20)),
		Grace:        t.Duration("grace", 0, 0, 2*time.Second),
		PowersOn:     t.Bool("powers_on", false),
		Irreversible: t.Bool("irreversible", false),
		Env:          t.StringMap("env"),
		RunDir:       exec.DefaultRunDir(), // replaced by the configuration's own when it is built
	}
	if t.Has("action") == (c.Action != "") && t.Has("command") == (len(c.Command) > 0) { // else the fault is told
		t.FaultErrors(c.Validate())
	}
	return c
}

func webhookKind(t *config.Table) any {
	t.Require("url")
	c := webhook.Config{
		URL:         t.String("url", ""),
		HeadersFile: t.String("headers_file", ""),
		TokenFile:   t.String("token_file", ""),
		CAFile:      t.String("ca_file", ""),
		TryTimeout:  t.Duration("try_timeout", 0, 0, maxWait),
		Drill:       t.Enum("drill", "", "native", "dry-run"),
		Headers:     t.StringMap("headers"),
		SecretFiles: t.List("secret_files"),
		KeepOpen:    t.Bool("keep_open", false),

		VerifyURL:   t.String("verify_url", ""),
		VerifyField: t.String("verify_field", ""),
		VerifyValue: t.String("verify_value", ""),
		VerifyEvery: t.Duration("verify_every", 0, 0, maxWait),
		VerifyFor:   t.Duration("verify_for", 0, 0, 24*maxWait),

		ProbeURL:     t.String("probe_url", ""),
		ProbeHeader:  t.String("probe_header", ""),
		ProbeField:   t.String("probe_field", ""),
		ProbeVersion: t.String("probe_version", ""),
	}
	if c.URL != "" {
		t.FaultErrors(c.Validate())
	}
	return c
}

func modbusKind(t *config.Table) any {
	t.Require("command")
	c := modbus.Config{Drill: t.String("drill", "")}
	for _, k := range t.Tables("command") {
		k.Require("name", "device", "command")
		g := modbus.Target{Name: k.String("name", ""), Device: k.String("device", ""), Command: k.String("command", ""), Undo: k.String("undo", "")}
		g.Irreversible = k.Bool("irreversible", g.Undo == "")
		k.Unknown()
		c.Targets = append(c.Targets, g)
	}
	if len(c.Targets) > 0 {
		t.FaultErrors(c.Validate())
	}
	return c
}

func mqttKind(t *config.Table) any {
	t.Require("topic", "brokers", "consumers")
	c := mqtt.Config{
		Topic:        t.String("topic", ""),
		Brokers:      t.Strings("brokers"),
		Consumers:    t.Strings("consumers"),
		ReplyTopic:   t.String("reply_topic", ""),
		DrillTopic:   t.String("drill_topic", ""),
		Resend:       t.Duration("resend", 0, 0, maxWait),
		Wait:         t.Enum("wait", "", "accept", "receipt"),
		AskConsumers: t.Bool("probe", false),
		ProbeVersion: t.String("probe_version", ""),
		Drill:        t.Enum("drill", "", "native", "dry-run"),
	}
	if t.Has("topic") && t.Has("brokers") && t.Has("consumers") {
		t.FaultErrors(c.Validate())
	}
	return c
}

func nutKind(t *config.Table) any {
	c := nut.Config{
		Listen:     t.Strings("listen"),
		CertFile:   t.String("cert", ""),
		KeyFile:    t.String("key", ""),
		UsersFile:  t.String("users_file", ""),
		Drill:      t.String("drill", ""),
		MaxClients: int(t.Int("max_clients", 0, 1, 10000)),
		PerAddress: int(t.Int("max_per_address", 0, 1, 10000)),
	}
	t.Require("ups")
	for _, u := range t.Tables("ups") {
		c.UPS = append(c.UPS, nutUPS(u))
	}
	for _, a := range t.Tables("alias") {
		a.Require("listen", "ups")
		c.Alias = append(c.Alias, nut.Alias{Listen: a.String("listen", ""), UPS: a.String("ups", "")})
		a.Unknown()
	}
	if len(c.UPS) > 0 {
		t.FaultErrors(c.ValidateServer())
	}
	return c
}

func nutUPS(t *config.Table) nut.UPS {
	t.Require("name")
	u := nut.UPS{
		Name:        t.String("name", ""),
		Description: t.String("description", ""),
		Plans:       t.Strings("plans"),
		Zone:        t.String("zone", ""),
		Vars:        t.StringMap("vars"),
		DeadMan:     t.Bool("dead_man", false),
		Clients:     t.Strings("clients"),
		MinClients:  int(t.Int("min_clients", 0, 1, 10000)),
	}
	for _, k := range t.Tables("contacts") {
		k.Require("n", "x", "point")
		u.Contacts = append(u.Contacts, nut.Contact{N: int(k.Int("n", 0, 1, 99)), X: int(k.Int("x", 0, 1, 99)), Point: k.String("point", ""),
			Name: k.String("name", ""), Config: k.Enum("config", "", "normal-opened", "normal-closed")})
		k.Unknown()
	}
	t.Unknown()
	if u.Name != "" {
		t.FaultErrors(u.Validate())
	}
	return u
}

// points finds the points of a configuration by name.
func points(c *config.Config) func(string) (sensors.Point, bool) {
	byName := map[string]sensors.Point{}
	for _, p := range c.Rules.Hazard.Points {
		byName[p.Name] = p
	}
	return func(name string) (sensors.Point, bool) {
		p, ok := byName[name]
		return p, ok
	}
}

// buildHooks makes the hooks in the order of the rules.
func buildHooks(c *config.Config, devices *devicesByName, self, runDir string, now func() time.Time, log *slog.Logger) ([]plugins.Hook, error) {
	var out []plugins.Hook
	for i := range c.Hooks {
		h := &c.Hooks[i]
		switch k := h.Config.(type) {
		case exec.Config:
			k.RunDir, k.Site, k.Agent = runDir, c.Site, c.Agent
			out = append(out, &latePoiser{newLateHook(func() (plugins.Hook, error) { return exec.New(h.Name, k, self, log) })})
		case webhook.Config:
			k.Site, k.Agent, k.Now = c.Site, c.Agent, now
			out = append(out, &lateRunner{newLateHook(func() (plugins.Hook, error) { return webhook.New(h.Name, k, log) })})
		case mqtt.Config:
			m, err := mqttHook(c, h.Name, k, now, log)
			if err != nil {
				return nil, err
			}
			out = append(out, m)
		case modbus.Config:
			m, err := modbus.New(h.Name, k, devices)
			if err != nil {
				return nil, err
			}
			out = append(out, m)
		case nut.Config:
			// It is built now, not when it is first needed: it answers on its port between the calls.
			n, err := nut.New(h.Name, k, nut.Deps{StateDirs: []string{runDir, c.Journal}, Point: points(c), Log: log})
			if err != nil {
				return nil, err
			}
			out = append(out, n)
		default:
			return nil, fmt.Errorf("hook %q: kind %q is not built in", h.Name, h.Kind)
		}
	}
	return out, nil
}

// lateHook builds its hook when it is first needed, and again after a failure: building may read
// files, and one hook without its certificate must not keep the agent from protecting with the
// others, nor a disk that hangs.
type lateHook struct {
	built *reread.File[plugins.Hook]
	made  atomic.Pointer[plugins.Hook] // nil: not yet
}

func newLateHook(build func() (plugins.Hook, error)) *lateHook {
	l := &lateHook{}
	l.built = reread.New(func() (plugins.Hook, error) {
		if h := l.made.Load(); h != nil {
			return *h, nil
		}
		h, err := build()
		if err == nil {
			l.made.Store(&h)
		}
		return h, err
	})
	return l
}

// StandDown builds nothing.
func (l *lateHook) StandDown() {
	if h := l.made.Load(); h != nil {
		standDown(*h)
	}
}

// standDown ends what hooks keep ready.
func standDown(hooks ...plugins.Hook) {
	for _, h := range hooks {
		if k, ok := h.(plugins.Keeper); ok {
			k.StandDown()
		}
	}
}

func (l *lateHook) get() (plugins.Hook, error) {
	h, have, err := l.built.Get()
	if !have {
		return nil, err
	}
	return h, nil
}

func (l *lateHook) Probe(ctx context.Context) error {
	h, err := l.get()
	if err != nil {
		return err
	}
	return h.Probe(ctx)
}

func (l *lateHook) Do(ctx context.Context, c plugins.Call, seen func(plugins.Evidence)) plugins.Outcome {
	h, err := l.get()
	if err != nil {
		// A process before this one may have called it under this key: no known failure, so no new key (S9).
		return plugins.Outcome{Result: plugins.Unknown, Detail: "not called: " + err.Error() + "; it is tried again under the same key"}
	}
	return h.Do(ctx, c, seen)
}

// latePoiser is one that can get calls ready.
type latePoiser struct{ *lateHook }

func (l *latePoiser) DoPoised(ctx context.Context, c plugins.Call, leave plugins.Leave, seen func(plugins.Evidence)) plugins.Outcome {
	if h, err := l.get(); err == nil {
		if p, ok := h.(plugins.Poiser); ok {
			return p.DoPoised(ctx, c, leave, seen)
		}
	}
	select {
	case <-leave.Given:
		return l.Do(ctx, c, seen)
	case <-ctx.Done():
		return plugins.Outcome{Result: plugins.Unknown, Detail: "not called: its leave has not come"}
	}
}

// lateRunner is one that works between its calls too. Its Run fails as long as the hook cannot be
// built, and is started again.
type lateRunner struct{ *lateHook }

func (l *lateRunner) Run(ctx context.Context, seen func(plugins.Evidence)) error {
	h, err := l.get()
	if err != nil {
		return err
	}
	r, ok := h.(plugins.Runner)
	if !ok {
		return fmt.Errorf("a hook of type %T does nothing between its calls: please report this", h)
	}
	return r.Run(ctx, seen)
}
