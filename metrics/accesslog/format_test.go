package accesslog

import (
	"encoding/json"
	"math"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"usher/config"
)

// written is what a log writes for an entry.
func written(t *testing.T, e *Entry, change func(*config.AccessLog)) string {
	t.Helper()
	path := fresh(t)
	s := begin(t, path, change)
	if !s.Add(e) {
		t.Fatal("not taken")
	}
	s.end()
	lines := splitLines(t, read(t, path))
	if len(lines) != 1 {
		t.Fatalf("got %d lines: %q", len(lines), lines)
	}
	return lines[0]
}

func TestJSON(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	line := written(t, example(), func(c *config.AccessLog) {
		c.RequestHeaders, c.ResponseHeaders = []string{"X-Tenant", "Authorization"}, []string{"X-Cache", "Set-Cookie"}
	})
	var got map[string]any
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	text, _ := got["time"].(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	if d := at.Sub(begin); err != nil || d.Abs() > time.Minute || !strings.HasSuffix(text, "Z") {
		t.Errorf("the time is %s (%v)", text, err)
	}
	delete(got, "time")
	want := map[string]any{
		"request_id": "abc", "trace_id": "010200000000000000000000000000ff", "listener": "web",
		"client_ip": "192.0.2.7", "peer": "10.0.0.1:4711", "method": "GET", "scheme": "https", "host": "shop.test",
		"target": "/a?token=REDACTED&b=1", "protocol": "HTTP/2", "status": 503.0, "reason": "overloaded",
		"grpc_status": "unavailable", "bytes_received": 12.0, "bytes_sent": 34.0, "duration": 1.234567,
		"upstream_duration": 0.005, "route": "shop.test/", "service": "shop", "endpoint": "shop-1",
		"endpoint_address": "10.1.1.1:80", "attempts": 2.0, "retry_reasons": []any{"connect_failed", "status"},
		"hedged": true, "generation": 9.0, "user_agent": "curl/8", "referer": "http://x/?password=REDACTED",
		"tls_version": "TLSv1.3", "tls_cipher": "TLS_AES_128_GCM_SHA256", "sni": "shop.test",
		"client_identity":  "CN=client",
		"request_headers":  map[string]any{"x-tenant": "one", "authorization": "REDACTED"},
		"response_headers": map[string]any{"x-cache": "hit", "set-cookie": "REDACTED"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if strings.Contains(line, "s3cret") {
		t.Errorf("a secret: %s", line)
	}
}

// Every field that a configuration may name is one that is written.
func TestEveryField(t *testing.T) {
	t.Parallel()
	for _, name := range config.AccessLogFields() {
		line := written(t, example(), func(c *config.AccessLog) {
			c.Fields, c.RequestHeaders, c.ResponseHeaders = []string{name}, []string{"X-Tenant"}, []string{"X-Cache"}
		})
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil || len(got) != 1 || got[name] == nil {
			t.Errorf("%s: %s (%v)", name, line, err)
		}
	}
	if len(values) != len(config.AccessLogFields()) {
		t.Errorf("%d values for %d fields", len(values), len(config.AccessLogFields()))
	}
}

// The standard line is what its program writes, whatever there is not.
func TestStandard(t *testing.T) {
	t.Parallel()
	headers := []string{"X-Tenant"}
	n := &encoder{program: newProgram(config.AccessLog{
		Format: config.AccessJSON, RequestHeaders: headers, ResponseHeaders: []string{"X-Cache"},
	})}
	if !n.all {
		t.Fatal("it is not the standard one")
	}
	whole := reflect.TypeFor[Entry]()
	for i := range whole.NumField() {
		for _, base := range []*Entry{example(), {}} {
			e, full := reflect.ValueOf(base).Elem(), reflect.ValueOf(example()).Elem()
			if base.Status == 0 {
				e.Field(i).Set(full.Field(i)) // one field alone
			} else {
				e.Field(i).SetZero() // all but one
			}
			checkSame(t, n, base, n.line(nil, base))
		}
	}
	other := example()
	other.Service = "other" // at the same address
	checkSame(t, n, other, n.line(nil, other))
}

// What there is nothing of is left out, and an entry of nothing is an object.
func TestJSONEmpty(t *testing.T) {
	t.Parallel()
	line := written(t, &Entry{}, nil)
	var got map[string]any
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "time")
	want := map[string]any{"status": 0.0, "bytes_sent": 0.0, "duration": 0.0}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	if line := written(t, &Entry{}, func(c *config.AccessLog) { c.Fields = []string{"reason"} }); line != "{}" {
		t.Errorf("got %s", line)
	}
}

// combinedLine is the line as programs that evaluate such logs take it apart (GoAccess's
// %h - %e [%d:%t %^] "%r" %s %b "%R" "%u").
var combinedLine = regexp.MustCompile(
	`^(\S+) - (\S+) \[([^\]]+)\] "(\S+) (\S+) (HTTP/\S+)" (\d{3}) (\d+)` +
		`(?: "((?:[^"\\]|\\x[0-9a-f]{2})*)" "((?:[^"\\]|\\x[0-9a-f]{2})*)")?$`)

func TestCombined(t *testing.T) {
	t.Parallel()
	for _, format := range []string{config.AccessCombined, config.AccessCommon} {
		line := written(t, example(), func(c *config.AccessLog) { c.Format = format })
		m := combinedLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("%s: %s", format, line)
		}
		if at, err := time.Parse("02/Jan/2006:15:04:05 -0700", m[3]); err != nil || time.Since(at).Abs() > time.Minute {
			t.Errorf("%s: the time is %s (%v)", format, m[3], err)
		}
		want := []string{"192.0.2.7", "-", m[3], "GET", "/a?token=REDACTED&b=1", "HTTP/2", "503", "34", "", ""}
		if format == config.AccessCombined {
			want[8], want[9] = "http://x/?password=REDACTED", "curl/8"
		}
		if !reflect.DeepEqual(m[1:], want) {
			t.Errorf("%s: got %q, want %q", format, m[1:], want)
		}
	}
	line := written(t, &Entry{Client: []byte("192.0.2.7"), Status: 400}, func(c *config.AccessLog) {
		c.Format = config.AccessCombined
	})
	if !strings.HasSuffix(line, `] "-" 400 0 "-" "-"`) {
		t.Errorf("without a head: %s", line)
	}
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	for template, want := range map[string]string{
		"$status":                                "503",
		"$$5 $status ms":                         "$5 503 ms",
		`$method "$target" $duration|`:           `GET "/a?token=REDACTED&b=1" 1.234567|`,
		"$request_header_x_tenant":               "one",
		"$request_header_authorization":          "REDACTED",
		"$response_header_x_cache":               "hit",
		"$retry_reasons":                         "connect_failed,status",
		"$request_header_x_b3_sampled!":          "-!",
		"$peer $hedged $trace_id":                "10.0.0.1:4711 true 010200000000000000000000000000ff",
		"plain":                                  "plain",
		"$user_agent $referer $sni $tls_version": "curl/8 http://x/?password=REDACTED shop.test TLSv1.3",
	} {
		got := written(t, example(), func(c *config.AccessLog) {
			c.Format, c.Template = config.AccessTemplate, template
			c.RequestHeaders = []string{"X-Tenant", "Authorization", "X-B3-Sampled"}
			c.ResponseHeaders = []string{"X-Cache"}
		})
		if got != want {
			t.Errorf("%s: got %q, want %q", template, got, want)
		}
	}
}

// What is too long is cut, and the line is whole.
func TestLongValues(t *testing.T) {
	t.Parallel()
	e := example()
	e.Target = []byte("/" + strings.Repeat("\x01", 3*maxValue))
	var got struct{ Target, Service string }
	line := written(t, e, nil)
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Target) != maxValue+3 || !strings.HasSuffix(got.Target, "\x01...") || got.Service != "shop" {
		t.Errorf("got %d bytes of the target, the service %q", len(got.Target), got.Service)
	}
}

func TestSampling(t *testing.T) {
	t.Parallel()
	s := begin(t, fresh(t), func(c *config.AccessLog) { c.Sample = 0.1 })
	const n = 100_000
	taken := 0
	for range n {
		if s.Takes(200, false, 0) {
			taken++
		}
		if !s.Takes(500, false, 0) || !s.Takes(404, true, 0) || !s.Takes(200, false, time.Second+1) {
			t.Fatal("what failed or was slow is not taken")
		}
	}
	if share := float64(taken) / n; math.Abs(share-0.1) > 0.02 {
		t.Errorf("the share is %v", share)
	}
	none := begin(t, fresh(t), func(c *config.AccessLog) { c.Sample, c.Slow = 0, 0 })
	all := begin(t, fresh(t), nil)
	for range 1000 {
		if none.Takes(499, false, time.Hour) || !all.Takes(200, false, 0) {
			t.Fatal("a sample of 0 or 1 is by chance")
		}
	}
}
