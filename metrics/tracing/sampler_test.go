package tracing

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// TestSamplers: what is recorded is what OpenTelemetry's SDK would record.
func TestSamplers(t *testing.T) {
	ratio := sdk.TraceIDRatioBased
	for name, theirs := range map[string]sdk.Sampler{
		"always_on": sdk.AlwaysSample(), "always_off": sdk.NeverSample(),
		"traceidratio 0": ratio(0), "traceidratio 0.25": ratio(0.25), "traceidratio 1": ratio(1),
		"traceidratio 0.000001":            ratio(0.000001),
		"parentbased_always_on":            sdk.ParentBased(sdk.AlwaysSample()),
		"parentbased_always_off":           sdk.ParentBased(sdk.NeverSample()),
		"parentbased_traceidratio 0.25":    sdk.ParentBased(ratio(0.25)),
		"parentbased_traceidratio 0.99999": sdk.ParentBased(ratio(0.99999)),
	} {
		t.Run(name, func(t *testing.T) {
			ours := &Tracer{sampler: samplerOf(name), formats: []format{w3c}, w3cAlone: true}
			for i := range 20000 {
				head, ctx, id := someHead(t.Context(), i)
				c, yes := ours.Decide(head)
				if yes || c.named() {
					id = c.Trace // a trace that began here has the name that it was given
				}
				if want, known := theirDecision(ctx, theirs, id, yes || c.named()); known && want != yes {
					t.Fatalf("%v %x: recorded %t, they say %t", head, id, yes, want)
				}
			}
		})
	}
}

// theirDecision is the SDK's; known: it does not hang on a name that is not known.
func theirDecision(ctx context.Context, s sdk.Sampler, id trace.TraceID, named bool) (yes, known bool) {
	r := s.ShouldSample(sdk.SamplingParameters{ParentContext: ctx, TraceID: id})
	return r.Decision == sdk.RecordAndSample, named
}

// someHead is a head of a random trace: without one, sampled, and not sampled, by turns.
func someHead(ctx context.Context, i int) (Head, context.Context, trace.TraceID) {
	var id trace.TraceID
	var span trace.SpanID
	binary.BigEndian.PutUint64(id[:8], rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	binary.BigEndian.PutUint64(span[:], rand.Uint64()|1)
	flags := trace.TraceFlags(i % 3)
	if flags == 2 {
		return nil, ctx, trace.TraceID{}
	}
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: flags})
	head := fields{
		"traceparent", "00-" + id.String() + "-" + span.String() + "-" + hex.EncodeToString([]byte{byte(flags)}),
	}
	return head, trace.ContextWithRemoteSpanContext(ctx, sc), id
}

// samplerOf is the sampler of a name, with its argument behind it.
func samplerOf(name string) sampler {
	env := map[string]string{"OTEL_TRACES_EXPORTER": "console"}
	for i := range name {
		if name[i] == ' ' {
			name, env["OTEL_TRACES_SAMPLER_ARG"] = name[:i], name[i+1:]
			break
		}
	}
	env["OTEL_TRACES_SAMPLER"] = name
	return readEnvironment(func(k string) string { return env[k] }).sampler
}

// TestShare: of the traces that begin here the share is recorded that was asked for.
func TestShare(t *testing.T) {
	ours := &Tracer{sampler: samplerOf("parentbased_traceidratio 0.1")}
	const n = 100000
	recorded := 0
	for range n {
		c, yes := ours.Decide(nil)
		if yes {
			recorded++
			if !c.named() {
				t.Fatal("a trace without a name is recorded")
			}
		}
	}
	if share := float64(recorded) / n; share < 0.09 || share > 0.11 {
		t.Errorf("%.4f of all are recorded, want 0.1", share)
	}
}

// TestUndecided: what B3 leaves to us is ours to decide, by the name of the trace.
func TestUndecided(t *testing.T) {
	head := fields{"b3", aTrace + "-" + aSpan}
	for name, want := range map[string]bool{"parentbased_always_on": true, "parentbased_always_off": false} {
		ours := &Tracer{sampler: samplerOf(name), formats: []format{b3Single}}
		if c, yes := ours.Decide(head); yes != want || yes && hex.EncodeToString(c.Trace[:]) != aTrace {
			t.Errorf("%s: recorded %t as %q", name, yes, told(c))
		}
	}
	ours := &Tracer{sampler: samplerOf("parentbased_always_off"), formats: []format{b3Single}}
	if c, yes := ours.Decide(fields{"b3", "1"}); !yes || !c.named() {
		t.Errorf("a decision alone: recorded %t as %q", yes, told(c))
	}
}

// TestDecideAllocates: a request that is not recorded allocates nothing.
func TestDecideAllocates(t *testing.T) {
	ours := &Tracer{
		sampler: samplerOf("parentbased_traceidratio 0.000000001"), formats: []format{w3c, b3Single, b3Multi},
	}
	for name, head := range map[string]Head{
		"no field": nil, "not sampled": &fixed{[]byte("00-" + aTrace + "-" + aSpan + "-00")},
	} {
		if n := testing.AllocsPerRun(1000, func() { ours.Decide(head) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	ours := &Tracer{sampler: samplerOf("parentbased_traceidratio 0.000001"), formats: []format{w3c}, w3cAlone: true}
	b.Run("no field", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ours.Decide(nil)
		}
	})
	head := &fixed{[]byte("00-" + aTrace + "-" + aSpan + "-00")}
	b.Run("traceparent", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ours.Decide(head)
		}
	})
}

// fixed is a head with one field.
type fixed struct{ value []byte }

func (f *fixed) Field(string, int) ([]byte, bool) { return nil, false }

func (f *fixed) Traceparent() []byte { return f.value }

func (f *fixed) B3() []byte { return nil }
