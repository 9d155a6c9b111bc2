package hazard

import (
	"encoding/json"
	"testing"
	"time"

	"firebreak/sensors"
)

// other is a reading of a device that is not the one that was proven, as the driver tells it.
func (m *room) other(p sensors.PointID, v float64) {
	m.step(sensors.Reading{Point: p, Value: v, Quality: sensors.MakeQuality(sensors.Uncertain, sensors.Replaced, sensors.Real), At: m.now})
}

// S23: a replaced device votes, and counts up to stage 2, until it is proven.
func TestReplacedCountsToStage2Only(t *testing.T) {
	m := newRoom(t)
	p, a := m.sensor("a", sensors.Smoke, own("a"))
	q, b := m.sensor("b", sensors.Temperature, own("b"))
	v := m.vote(2, true, a, b)
	m.read(q, 20)
	for _, x := range []float64{20, 30, 40, 70} { // a rise that would make any other strong
		m.other(p, x)
		m.wait(100 * time.Millisecond)
	}
	m.want(a, "true weak")
	m.read(q, 70)
	m.want(v, "true weak")
	if got := m.e.Verdict(v); got.Basis != Measured || !got.Settled {
		t.Errorf("it opens stage 2: %+v", got)
	}
	m.read(p, 70) // proven
	m.want(v, "true")
	m.other(p, 70) // and replaced again: strength is not the new one's
	m.want(v, "true weak")
}

// Over range and too fast take the place of the reason, but not of the fact.
func TestReplacedIsNotHiddenByOverRange(t *testing.T) {
	for _, why := range []sensors.Reason{sensors.OverRange, sensors.Fast} {
		t.Run(why.String(), func(t *testing.T) {
			m := newRoom(t)
			p, a := m.sensor("a", sensors.Temperature, own("a"))
			for _, x := range []float64{20, 30, 40, 50} {
				m.other(p, x)
			}
			m.step(sensors.Reading{Point: p, Value: 150, Quality: sensors.MakeQuality(sensors.Uncertain, why, sensors.Real), At: m.now})
			m.want(a, "true weak")
			s := m.e.State() // nor by a snapshot
			b, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			var back State
			if err := json.Unmarshal(b, &back); err != nil {
				t.Fatal(err)
			}
			if m.e, err = New(&m.r); err != nil {
				t.Fatal(err)
			}
			m.e.SetState(back)
			m.step(sensors.Reading{Point: p, Value: 150, Quality: sensors.MakeQuality(sensors.Uncertain, why, sensors.Real), At: m.now})
			m.want(a, "true weak")
		})
	}
}

// A latch (S3) is as strong as the device that is there now.
func TestReplacedWeakensALatch(t *testing.T) {
	m, gas, _, high, _ := gasRoom(t)
	m.rises(gas)
	m.read(gas, 5)
	m.want(high, "true held-true falling")
	m.other(gas, 5)
	m.want(high, "true held-true weak")
}

// S23: the baseline is dropped. Another offset is no rise, and what one device read is no support of
// what the other reads.
func TestReplacedDropsTheBaseline(t *testing.T) {
	m := newRoom(t)
	p := m.point("bms", "t", sensors.Temperature)
	rate := m.over(Cond{Name: "rate", Kind: Rate, Threshold: 0.1, Window: 20 * time.Second}, p)
	hot := m.over(Cond{Name: "hot", Threshold: 60}, p)
	m.keep(25*time.Second, 20, p)
	m.want(rate, "false")
	for range 15 {
		m.other(p, 25) // reads 5 K more
		m.wait(time.Second)
	}
	m.want(rate, "unknown")
	for range 10 {
		m.other(p, 25)
		m.wait(time.Second)
	}
	m.want(rate, "false")
	for _, v := range []float64{40, 50} {
		m.read(p, v)
	}
	m.other(p, 60)
	m.sensed(p, 900) // over range, with no rise of this device before it
	m.read(p, 140)   // proven
	m.want(hot, "true weak")
}
