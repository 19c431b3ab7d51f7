package admin

import (
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 11, 28, 14, 30, 0, 0, zone)
	for text, want := range map[string]struct {
		at        string
		precision time.Duration
	}{
		"03:12":                {"2026-11-28T03:12:00+02:00", time.Minute},
		"14:30":                {"2026-11-28T14:30:00+02:00", time.Minute},
		"14:31":                {"2026-11-27T14:31:00+02:00", time.Minute},
		"03:12:59":             {"2026-11-28T03:12:59+02:00", time.Second},
		"2026-01-02T03:04:05Z": {"2026-01-02T03:04:05Z", time.Second},
	} {
		at, precision, err := ParseTime(text, now)
		if err != nil || at.Format(time.RFC3339) != want.at || precision != want.precision {
			t.Errorf("%s: %s, %s, %v, want %v", text, at.Format(time.RFC3339), precision, err, want)
		}
	}
	for _, text := range []string{"", "3", "25:00", "yesterday", "2026-01-02"} {
		if at, _, err := ParseTime(text, now); err == nil {
			t.Errorf("%q is taken for %s", text, at)
		}
	}
}

func TestWindow(t *testing.T) {
	now := time.Date(2026, 11, 28, 14, 30, 0, 0, time.UTC)
	for _, c := range []struct {
		at, length string
		want       time.Duration
	}{{"03:12", "", time.Minute}, {"03:12", "90s", 90 * time.Second}, {"2026-01-02T03:04:05Z", "", time.Second}} {
		from, to, err := window(c.at, c.length, now)
		if err != nil || to.Sub(from) != c.want {
			t.Errorf("%s for %q: %s, %v, want %s", c.at, c.length, to.Sub(from), err, c.want)
		}
	}
	if _, _, err := window("03:12", "-1s", now); err == nil {
		t.Error("a negative duration is taken")
	}
}
