package guard

import (
	"context"
	"errors"
	"time"

	"firebreak/agent/core"
)

type order struct {
	o     core.Order
	reply chan error
}

// answer is that to an order which was carried out: it waits until what was decided is on disk, so that
// what a person was told is not forgotten by a crash, and no longer than orderBound.
type answer struct {
	to  chan error
	seq uint64
	due time.Time
}

func (g *Guard) reply(e *core.Effect) {
	ch := g.replies[e.OrderID]
	if ch == nil {
		return
	}
	delete(g.replies, e.OrderID)
	if e.Err != nil || g.c.Journal == nil || g.gap {
		ch <- e.Err // has room for one
		return
	}
	g.answers = append(g.answers, answer{ch, g.lastSeq, time.Now().Add(orderBound)})
}

func (g *Guard) answerDue() {
	wait := g.answers[:0]
	for _, a := range g.answers {
		if g.c.Journal.DurableSeq() < a.seq && time.Now().Before(a.due) {
			wait = append(wait, a)
			continue
		}
		a.to <- nil
	}
	g.answers = wait
}

// Order hands a person's order to the core and waits for its answer, or for ctx.
func (g *Guard) Order(ctx context.Context, o core.Order) error {
	reply := make(chan error, 1)
	select {
	case g.orders <- order{o, reply}:
	case <-g.stopped:
		return errors.New("the agent is stopping: the order was not taken")
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-reply:
		return err
	case <-g.stopped:
	case <-ctx.Done():
		return ctx.Err()
	}
	select { // the loop may have answered before it stopped
	case err := <-reply:
		return err
	default:
		return errors.New("the agent is stopping: the order may not have been carried out")
	}
}

func (g *Guard) order(ctx context.Context, o order) {
	g.orderID++
	o.o.ID = g.orderID
	g.replies[o.o.ID] = o.reply
	g.step(ctx, core.Event{Kind: core.OrderGiven, Order: o.o})
}
