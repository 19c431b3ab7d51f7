package tracing

import (
	"slices"
	"strings"
	"testing"
)

// TestEnvironment: what the environment says is understood, and what it says wrong is told.
func TestEnvironment(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318 "
	for _, c := range []struct {
		name, env string
		// want are the exporters, protocol, sampler and formats; empty: tracing is off.
		want string
		// warns are parts of the warnings.
		warns []string
	}{
		{"nothing", "", "", nil},
		{"an endpoint", endpoint, "otlp http/protobuf parentbased_always_on tracecontext,baggage", nil},
		{
			"an endpoint for traces", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://c/x",
			"otlp http/protobuf parentbased_always_on tracecontext,baggage", nil,
		},
		{"an endpoint for metrics", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=https://c/x", "", nil},
		{"empty", "OTEL_EXPORTER_OTLP_ENDPOINT= OTEL_TRACES_EXPORTER=", "", nil},
		{
			"the exporter alone", "OTEL_TRACES_EXPORTER=otlp",
			"otlp http/protobuf parentbased_always_on tracecontext,baggage", nil,
		},
		{"none", endpoint + "OTEL_TRACES_EXPORTER=none", "", nil},
		{"disabled", endpoint + "OTEL_SDK_DISABLED=TRUE", "", nil},
		{
			"not disabled", endpoint + "OTEL_SDK_DISABLED=1",
			"otlp http/protobuf parentbased_always_on tracecontext,baggage",
			[]string{`OTEL_SDK_DISABLED="1"`},
		},
		{
			"console", "OTEL_TRACES_EXPORTER=console,otlp",
			"console,otlp http/protobuf parentbased_always_on tracecontext,baggage", nil,
		},
		{
			"unknown exporters", endpoint + "OTEL_TRACES_EXPORTER=zipkin,console",
			"console http/protobuf parentbased_always_on tracecontext,baggage",
			[]string{"zipkin"},
		},
		{"one unknown exporter", endpoint + "OTEL_TRACES_EXPORTER=zipkin", "", []string{"zipkin"}},
		{
			"gRPC", endpoint + "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
			"otlp grpc parentbased_always_on tracecontext,baggage",
			nil,
		},
		{
			"that for traces goes before",
			endpoint + "OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json",
			"otlp http/json parentbased_always_on tracecontext,baggage", nil,
		},
		{
			"an unknown protocol", endpoint + "OTEL_EXPORTER_OTLP_PROTOCOL=udp",
			"otlp http/protobuf parentbased_always_on tracecontext,baggage",
			[]string{`OTEL_EXPORTER_OTLP_PROTOCOL="udp"`},
		},
		{"no scheme", "OTEL_EXPORTER_OTLP_ENDPOINT=c:4318", "", []string{"http:// or https://"}},
		{
			"no scheme for gRPC", "OTEL_EXPORTER_OTLP_ENDPOINT=c:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
			"otlp grpc parentbased_always_on tracecontext,baggage", nil,
		},
		{"no host", "OTEL_EXPORTER_OTLP_ENDPOINT=http:///x", "", []string{"no host"}},
		{"no URL", "OTEL_EXPORTER_OTLP_ENDPOINT=http://u:secret@[x", "", []string{`"…"`}},
		{
			"ratio", endpoint + "OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=0.5",
			"otlp http/protobuf traceidratio tracecontext,baggage", nil,
		},
		{
			"a bad ratio", endpoint + "OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=50%",
			"otlp http/protobuf traceidratio tracecontext,baggage",
			[]string{`OTEL_TRACES_SAMPLER_ARG="50%"`},
		},
		{
			"not a number", endpoint + "OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=NaN",
			"otlp http/protobuf traceidratio tracecontext,baggage",
			[]string{`"NaN"`},
		},
		{
			"an unknown sampler", endpoint + "OTEL_TRACES_SAMPLER=jaeger_remote",
			"otlp http/protobuf parentbased_always_on tracecontext,baggage",
			[]string{"jaeger_remote"},
		},
		{
			"b3", endpoint + "OTEL_PROPAGATORS=b3,b3multi,tracecontext,b3",
			"otlp http/protobuf parentbased_always_on b3,b3multi,tracecontext", nil,
		},
		{
			"no propagator", endpoint + "OTEL_PROPAGATORS=b3,none",
			"otlp http/protobuf parentbased_always_on none", nil,
		},
		{
			"an unknown propagator", endpoint + "OTEL_PROPAGATORS=xray,b3",
			"otlp http/protobuf parentbased_always_on b3",
			[]string{"xray"},
		},
		{
			"what the exporter reads",
			endpoint + "OTEL_EXPORTER_OTLP_TIMEOUT=10s OTEL_EXPORTER_OTLP_TRACES_COMPRESSION=br " +
				"OTEL_BSP_SCHEDULE_DELAY=-1 OTEL_BSP_MAX_QUEUE_SIZE=many",
			"otlp http/protobuf parentbased_always_on tracecontext,baggage",
			[]string{"OTLP_TIMEOUT", "TRACES_COMPRESSION", "SCHEDULE_DELAY", "MAX_QUEUE_SIZE"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := map[string]string{}
			for pair := range strings.FieldsSeq(c.env) {
				k, v, _ := strings.Cut(pair, "=")
				env[k] = v
			}
			s := readEnvironment(func(k string) string { return env[k] })
			got := ""
			if len(s.exporters) > 0 {
				got = strings.Join([]string{
					strings.Join(s.exporters, ","), s.protocol, s.samplerName, strings.Join(s.formatNames, ","),
				}, " ")
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if len(s.warnings) != len(c.warns) {
				t.Errorf("warnings are %q", s.warnings)
			}
			for _, part := range c.warns {
				if !slices.ContainsFunc(s.warnings, func(w string) bool { return strings.Contains(w, part) }) {
					t.Errorf("no warning of %s: %q", part, s.warnings)
				}
			}
			if strings.Contains(strings.Join(s.warnings, ""), "secret") {
				t.Errorf("a warning tells a secret: %q", s.warnings)
			}
		})
	}
}

// TestQueue: the queue's length is the environment's.
func TestQueue(t *testing.T) {
	for value, want := range map[string]int{"": 2048, "10": 10, "0": 2048, "x": 2048} {
		s := readEnvironment(func(k string) string {
			return map[string]string{"OTEL_TRACES_EXPORTER": "console", "OTEL_BSP_MAX_QUEUE_SIZE": value}[k]
		})
		if s.queue != want {
			t.Errorf("%q: %d spans may wait, want %d", value, s.queue, want)
		}
	}
}
