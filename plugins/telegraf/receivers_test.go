//go:build telegraf

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"firebreak/plugins/telegraf/line"
	"firebreak/plugins/telegraf/pipe"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // the output compresses
	"google.golang.org/grpc/status"
)

// takeLines takes the readings of what was written as influx lines.
func (k *taken) takeLines(text []byte) error {
	ms := pipe.Metrics{Lines: text}
	return ms.Each(func(m line.Metric) {
		if v, ok := m.Field("celsius").(float64); ok {
			k.take(v, m.Time)
		}
	})
}

// web is an HTTP server, which refuses or hangs while it fails.
type web struct {
	taken
	name, url     string
	hangs, failed atomic.Bool
}

func newWeb(t *testing.T, name string, hangs bool) *web {
	t.Helper()
	w := &web{name: name}
	w.hangs.Store(hangs)
	s := httptest.NewServer(w)
	t.Cleanup(s.Close)
	w.url = s.URL
	return w
}

func (w *web) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	switch {
	case w.failed.Load() && w.hangs.Load():
		<-r.Context().Done()
	case w.failed.Load(), err != nil:
		out.WriteHeader(http.StatusInternalServerError)
	default:
		if err := w.takeLines(body); err != nil {
			out.WriteHeader(http.StatusBadRequest)
		}
	}
}

func (w *web) fail(yes bool) { w.failed.Store(yes) }

func (w *web) conf() string {
	return fmt.Sprintf("[[outputs.http]]\nalias = %q\nurl = %q\ntimeout = \"1s\"\ndata_format = \"influx\"\n", w.name, w.url)
}

// otlp is a receiver of OpenTelemetry: the service as its own project generates it, on gRPC.
type otlp struct {
	pmetricotlp.UnimplementedGRPCServer
	taken
	name, address string
	hangs         bool
	failed        atomic.Bool
	strange       func(error)
}

func newOTLP(t *testing.T, name string, hangs bool) *otlp {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &otlp{name: name, address: ln.Addr().String(), hangs: hangs, strange: func(err error) { t.Error(err) }}
	s := grpc.NewServer()
	pmetricotlp.RegisterGRPCServer(s, o)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ln) }()
	t.Cleanup(func() { s.Stop(); <-ended })
	return o
}

func (o *otlp) Export(ctx context.Context, r pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	switch {
	case o.failed.Load() && o.hangs:
		<-ctx.Done()
		return pmetricotlp.NewExportResponse(), ctx.Err()
	case o.failed.Load():
		return pmetricotlp.NewExportResponse(), status.Error(codes.Unavailable, "not now")
	}
	for _, rm := range r.Metrics().ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				if m.Name() != "firebreak_reading_celsius" || m.Type() != pmetric.MetricTypeGauge {
					o.strange(fmt.Errorf("%s is a %v", m.Name(), m.Type()))
					continue
				}
				for _, p := range m.Gauge().DataPoints().All() {
					if d, ok := p.Attributes().Get("device"); ok && d.Str() == "ups" {
						o.take(p.DoubleValue(), int64(p.Timestamp()))
					}
				}
			}
		}
	}
	return pmetricotlp.NewExportResponse(), nil
}

func (o *otlp) fail(yes bool) { o.failed.Store(yes) }

func (o *otlp) conf() string {
	return fmt.Sprintf("[[outputs.opentelemetry]]\nalias = %q\nservice_address = %q\ntimeout = \"1s\"\n", o.name, o.address)
}

// queue is a fake Kafka broker that speaks the protocol on a real socket, and a consumer of what it holds; neither shares
// code with the output's client. Debian has no Kafka.
type queue struct {
	taken
	address string
	failed  atomic.Bool
}

func newQueue(t *testing.T) *queue {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "rack"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	q := &queue{address: c.ListenAddrs()[0]}
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if !q.failed.Load() {
			return nil, nil, false
		}
		out := r.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range r.(*kmsg.ProduceRequest).Topics {
			rt := kmsg.ProduceResponseTopic{Topic: topic.Topic, TopicID: topic.TopicID}
			for _, p := range topic.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.NotLeaderForPartition.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			out.Topics = append(out.Topics, rt)
		}
		return out, nil, true
	})
	reader, err := kgo.NewClient(kgo.SeedBrokers(q.address), kgo.ConsumeTopics("rack"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for r := range reader.PollFetches(ctx).RecordsAll() {
				if err := q.takeLines(r.Value); err != nil {
					t.Errorf("a record of the queue: %v: %s", err, r.Value)
				}
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done; reader.Close() })
	return q
}

func (q *queue) fail(yes bool) { q.failed.Store(yes) }

func (q *queue) conf() string {
	return fmt.Sprintf("[[outputs.kafka]]\nbrokers = [%q]\ntopic = \"rack\"\nmax_retry = 1\ndata_format = \"influx\"\n", q.address)
}
