package config

import (
	"testing"
	"time"
)

// A service begins from the settings of the defaults, key by key.
func TestHealth(t *testing.T) {
	cfg := mustLoad(t, `
defaults:
  health_check: {path: /health, headers: {X-A: "1"}}
  outlier: {consecutive_5xx: 3, success_rate: {enabled: false}}
  drain_header: Usher-Drain
services:
  a: {health_check: {interval: 1s, headers: {X-B: "2"}}, outlier: {latency: {enabled: true}}}
  b: {health_check: {type: none}, slow_start: 0s, panic_threshold: 0, panic_includes_critical: true}
  c: {health_check: {type: grpc, service: orders}}
`, Options{})
	want := DefaultHealth()
	want.Outlier.Consecutive5xx, want.Outlier.SuccessRate.Enabled = 3, false
	got := cfg.Defaults.Health
	if got.Outlier != want.Outlier || got.HealthCheck.Path != "/health" || got.DrainHeader != "Usher-Drain" ||
		got.HealthCheck.Kind() != "http" || got.HealthCheck.Headers["X-A"] != "1" {
		t.Errorf("got %+v", got)
	}
	a, b, c := cfg.Services["a"].Health, cfg.Services["b"].Health, cfg.Services["c"].Health
	if a.HealthCheck.Interval != time.Second || a.HealthCheck.Path != "/health" || a.HealthCheck.Headers["X-A"] != "" ||
		a.HealthCheck.Headers["X-B"] != "2" || !a.Outlier.Latency.Enabled || a.Outlier.Consecutive5xx != 3 {
		t.Errorf("a: %+v", a)
	}
	if b.HealthCheck.Kind() != "none" || b.SlowStart != 0 || b.PanicThreshold != 0 || !b.PanicIncludesCritical {
		t.Errorf("b: %+v", b)
	}
	if c.HealthCheck.Kind() != "grpc" || c.HealthCheck.Service != "orders" || c.SlowStart != 10*time.Second {
		t.Errorf("c: %+v", c)
	}
	if kind := (&HealthCheck{}).Kind(); kind != "none" {
		t.Errorf("without anything: %q", kind)
	}
}

func TestParseStatuses(t *testing.T) {
	for text, want := range map[string]struct{ in, out []int }{
		"200-399":         {[]int{200, 399, 302}, []int{199, 400, 0}},
		"200":             {[]int{200}, []int{201}},
		"200-299, 404":    {[]int{250, 404}, []int{300, 403}},
		"100-599":         {[]int{100, 599}, nil},
		" 200 - 204 ,500": {[]int{203, 500}, []int{205}},
	} {
		s, err := ParseStatuses(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		for _, code := range want.in {
			if !s.Has(code) {
				t.Errorf("%q lacks %d", text, code)
			}
		}
		for _, code := range want.out {
			if s.Has(code) {
				t.Errorf("%q has %d", text, code)
			}
		}
	}
	for _, text := range []string{"", "x", "200-", "-200", "99", "600", "300-200", "200,,300", "200-300-400", "2 00"} {
		if s, err := ParseStatuses(text); err == nil {
			t.Errorf("%q is %v", text, s)
		}
	}
}

// Whatever is read has only statuses, in ranges that hold something.
func FuzzParseStatuses(f *testing.F) {
	for _, text := range []string{"200-399", "200,404", "", "1-2", "200-299,300-", "٢٠٠", "+200"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseStatuses(text)
		if (err == nil) != (len(s) > 0) {
			t.Fatalf("%q: %v, %v", text, s, err)
		}
		for _, r := range s {
			if r[0] < 100 || r[1] > 599 || r[0] > r[1] || !s.Has(r[0]) || !s.Has(r[1]) {
				t.Fatalf("%q: %v", text, s)
			}
		}
	})
}
