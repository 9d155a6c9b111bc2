package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"firebreak/agent/wire"
)

// historyStream keeps what somebody acts on, as it came; readings are the agents' own history.
const historyStream = "firebreak"

const (
	historyPart = 4 // of MaxStore
	askLimit    = 5 * time.Second
	retryMin    = time.Second
	retryMax    = 30 * time.Second
	nameInUse   = 10058 // the server's code of a stream that is there, with other limits
	noMessage   = 10037
)

var historyClasses = []wire.Class{wire.Status, wire.Alarm, wire.Plan, wire.Event, wire.Receipt, wire.Cmd}

// apiAnswer is the part of an answer of JetStream that is looked at.
type apiAnswer struct {
	Error *struct {
		Code        int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
	Message *struct {
		Subject string    `json:"subject"`
		Seq     uint64    `json:"seq"`
		Data    []byte    `json:"data"`
		Time    time.Time `json:"time"`
	} `json:"message"`
}

// keepHistory makes the stream, or gives the one that is there its present limits. In a cluster that
// waits for the other nodes, so it is tried until it works; the broker serves meanwhile.
func (h *Hub) keepHistory(ctx context.Context, c *Config) {
	var subjects []string
	for _, class := range historyClasses {
		subjects = append(subjects, strings.ReplaceAll(wire.Root, "/", ".")+"."+class.String()+".>")
	}
	replicas := 1
	if c.Cluster != nil {
		replicas = c.Cluster.replicas()
	}
	limits, _ := json.Marshal(map[string]any{"name": historyStream, "subjects": subjects, "retention": "limits", "discard": "old", "storage": "file",
		"max_age": c.HistoryAge.Nanoseconds(), "max_bytes": orDefault(c.MaxStore, defaultStore) / historyPart, "max_consumers": -1, "max_msgs": -1, "num_replicas": replicas})
	told := ""
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		err := h.makeStream(limits)
		switch {
		case err == nil:
			if told != "" {
				h.log.Info("the history of alarms is kept")
			}
			return
		case err.Error() != told && ctx.Err() == nil:
			told = err.Error()
			h.log.Warn("the history of alarms is not kept yet; alarms pass all the same", "err", err)
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return
		}
	}
}

func (h *Hub) makeStream(limits []byte) error {
	s, err := h.inside()
	if err != nil {
		return err
	}
	defer s.close()
	for _, verb := range []string{"CREATE", "UPDATE"} {
		var a apiAnswer
		if err := s.ask("$JS.API.STREAM."+verb+"."+historyStream, limits, &a); err != nil {
			return err
		}
		if a.Error == nil {
			return nil
		}
		if a.Error.Code != nameInUse {
			return errors.New(a.Error.Description)
		}
	}
	return errors.New("the stream is there and cannot be changed")
}

// Record is one message of the history.
type Record struct {
	At      time.Time       `json:"at"` // when the hub had it
	Topic   string          `json:"topic"`
	Message json.RawMessage `json:"message"` // null: an empty one, which clears what is retained
}

// History gives what has come since, oldest first, until each says no. What comes meanwhile is given too.
func (h *Hub) History(ctx context.Context, since time.Time, each func(Record) error) error {
	if h.history == "" {
		return errors.New("this hub keeps no history: history_age is 0")
	}
	s, err := h.inside()
	if err != nil {
		return err
	}
	defer s.close()
	ask := map[string]any{"next_by_subj": ">", "start_time": since}
	for ctx.Err() == nil {
		q, _ := json.Marshal(ask)
		var a apiAnswer
		if err := s.ask("$JS.API.STREAM.MSG.GET."+historyStream, q, &a); err != nil {
			return err
		}
		switch {
		case a.Error != nil && a.Error.Code == noMessage:
			return nil
		case a.Error != nil:
			return fmt.Errorf("the history: %s", a.Error.Description)
		case a.Message == nil:
			return errors.New("the history gives an answer without a message")
		}
		r := Record{At: a.Message.Time, Topic: strings.ReplaceAll(a.Message.Subject, ".", "/"), Message: a.Message.Data}
		if len(r.Message) == 0 {
			r.Message = json.RawMessage("null")
		} else if !json.Valid(r.Message) {
			r.Message, _ = json.Marshal(string(r.Message)) // garbage of somebody, and no less of interest
		}
		if err := each(r); err != nil {
			return err
		}
		ask = map[string]any{"next_by_subj": ">", "seq": a.Message.Seq + 1}
	}
	return ctx.Err()
}
