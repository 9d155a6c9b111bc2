package line

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	for _, c := range []struct {
		m    Metric
		want string
	}{
		{Metric{Name: "upsd", Tags: []Tag{{"ups_name", "ups-a"}}, Fields: []Field{{"load", 41.5}, {"online", true}}, Time: 7}, `upsd,ups_name=ups-a load=41.5,online=true 7`},
		{Metric{Name: "a b,c", Tags: []Tag{{"k=1", `v \,`}, {"none", ""}}, Fields: []Field{{"i", int64(-3)}, {"u", uint64(math.MaxUint64)}}, Time: -1}, `a\ b\,c,k\=1=v\ \\, i=-3i,u=18446744073709551615u -1`},
		{Metric{Name: "s", Fields: []Field{{"x", math.NaN()}, {"text", "say \"no\"\\\nend"}}}, `s text="say \"no\"\\ end" 0`},
		{Metric{Name: "ends\\", Tags: []Tag{{"t", `C:\`}, {"tab\t", "x\x00"}}, Fields: []Field{{"f", 1e21}}}, `ends,t=C:,tab_=x_ f=1e+21 0`},
	} {
		got, err := c.m.Append(nil)
		if err != nil || string(got) != c.want {
			t.Errorf("%+v:\n got %s, %v\nwant %s", c.m, got, err, c.want)
		}
		back, err := Parse(string(got))
		again, _ := back.Append(nil)
		if err != nil || string(again) != c.want {
			t.Errorf("%s came back as %s: %v", c.want, again, err)
		}
	}
	m, err := Parse(`x,a=1\ 2 v=1i,w="q \" , = ",y=F`)
	if err != nil || m.Tag("a") != "1 2" || m.Field("v") != int64(1) || m.Field("w") != `q " , = ` || m.Field("y") != false || m.Field("z") != nil || m.Time != 0 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestWhatIsNoLine(t *testing.T) {
	for _, s := range []string{"", "# a comment", "x", "x ", "x,a v=1", "x,=1 v=1", "x v=", "x v=1,", "x v=nan", "x v=0x1p3", `x v="a`, "x v=1 soon", "x v=1 2 3", "x v=1i2", ",a=1 v=1",
		strings.Repeat("x", MaxLine+1) + " v=1", "x " + strings.Repeat("a=1,", MaxKeys) + "b=2"} {
		if m, err := Parse(s); err == nil {
			t.Errorf("%.60q was taken as %+v", s, m)
		}
	}
	for _, m := range []Metric{{}, {Name: "x"}, {Name: "x", Fields: []Field{{"v", math.Inf(1)}}}, {Name: "x", Fields: []Field{{"v", strings.Repeat("a", MaxLine)}}}, {Name: "x", Fields: []Field{{"v", 3}}}} {
		if b, err := m.Append(nil); err == nil || len(b) > 0 {
			t.Errorf("%.60v was written as %.60q", m, b)
		}
	}
}

// FuzzLine: what is taken can be written, and then says the same.
func FuzzLine(f *testing.F) {
	f.Add(`upsd,ups_name=ups-a load=41.5,n=3i,u=4u,on=true,s="a \" b" 1700000000000000000`)
	f.Add(`a\ b\,c,k\=1=v\ \\, i=-3i 5`)
	f.Fuzz(func(t *testing.T, s string) {
		m, err := Parse(s)
		if err != nil {
			return
		}
		b, err := m.Append(nil)
		if err != nil {
			return // such as a name of nothing but backslashes
		}
		if strings.ContainsAny(string(b), "\n\r") {
			t.Fatalf("%q was written as more than one line: %q", s, b)
		}
		once, err := Parse(string(b))
		if err != nil {
			t.Fatalf("%q was written as %q, which is no line: %v", s, b, err)
		}
		again, err := once.Append(nil)
		twice, err2 := Parse(string(again))
		if err != nil || err2 != nil || !reflect.DeepEqual(once, twice) {
			t.Fatalf("%q: %+v is not %+v (%v, %v)", s, once, twice, err, err2)
		}
	})
}
