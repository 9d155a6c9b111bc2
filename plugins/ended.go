package plugins

import (
	"strings"
	"time"
	"unicode/utf8"
)

// EventHookEnded is the type of the event that tells the end of one call of a hook, with what its
// target said. Its Data is a HookEnded.
const EventHookEnded = "hook.ended"

// MaxOutput bounds the output in a HookEnded.
const MaxOutput = 64 << 10

// HookEnded is the end of a call as others are told of it.
type HookEnded struct {
	Result    string `json:"result"`
	ExitCode  int    `json:"exit_code"` // exec: of the process; webhook: the HTTP status; else 0
	ElapsedMs int64  `json:"elapsed_ms"`
	Target    string `json:"target,omitempty"`
	Journaled bool   `json:"journaled"` // the start was durable before the hook started
	Attached  bool   `json:"attached,omitempty"`
	Output    string `json:"output,omitempty"`
	Cut       int    `json:"output_cut,omitempty"` // bytes of the output that were left out at its end
}

// NewHookEnded tells an outcome, with at most MaxOutput bytes of output.
func NewHookEnded(c Call, o Outcome) HookEnded {
	h := HookEnded{Result: o.Result.String(), ExitCode: o.ExitCode, ElapsedMs: o.Elapsed.Round(time.Millisecond).Milliseconds(),
		Target: c.Target, Journaled: c.Journaled, Attached: o.Attached, Output: o.Output}
	return h.Shorten(MaxOutput)
}

// Shorten cuts the output to at most n bytes, at the end of a character, and adds to Cut what is
// lost. Bytes that are no UTF-8 are replaced: JSON cannot hold them.
func (h HookEnded) Shorten(n int) HookEnded {
	if len(h.Output) > n {
		for n > 0 && !utf8.RuneStart(h.Output[n]) {
			n--
		}
		h.Cut += len(h.Output) - n
		h.Output = h.Output[:n]
	}
	h.Output = strings.ToValidUTF8(h.Output, "\ufffd")
	return h
}
