package history

import "fmt"

// makeRoom takes segments until so many bytes more are within the bounds.
func (w *writer) makeRoom(now Instant, more int64) error {
	w.h.doing("removing old segments")
	if w.cur == nil {
		for _, ix := range w.ring.aged(now) {
			if err := w.evict(ix); err != nil {
				return err
			}
		}
	}
	for w.ring.total()+w.at.Size+more > w.ring.max {
		ix, ok := w.ring.next(now, true)
		if !ok {
			return fmt.Errorf("a group of %d bytes does not fit into history_max", more)
		}
		if err := w.evict(ix); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) evict(index uint64) error {
	if err := w.fs.Remove(segmentName(index)); err != nil {
		return fmt.Errorf("remove an old segment: %w", err)
	}
	w.ring.gone(index)
	return nil
}

// reserve keeps the last of the disk for the journal: one old segment goes at a time, none that
// belongs to an episode, and nothing is written until there is room.
func (w *writer) reserve(now Instant) error {
	if w.h.o.Free == nil {
		return nil
	}
	w.h.doing("asking for free space")
	free, err := w.h.o.Free()
	if err != nil || free >= w.h.o.Reserve {
		return nil // a disk that does not tell is no reason not to write
	}
	if ix, ok := w.ring.next(now, false); ok {
		if err := w.evict(ix); err != nil {
			return err
		}
	}
	return errReserve
}
