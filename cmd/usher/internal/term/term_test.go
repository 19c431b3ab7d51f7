package term

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode"
)

func noEnv(string) (string, bool) { return "", false }

func TestTable(t *testing.T) {
	table := &Table{Header: []string{"NAME", "N", "WHAT"}, Right: []int{1}}
	table.Add(Text("a"), Cell{"5", Good}, Text("short"))
	table.Add(Text("a-rather-long-name"), Text("1,000"), Text("a text that is longer than the rest of the line"))
	for name, tt := range map[string]struct {
		width int
		want  string
	}{
		"as wide as it is": {0, "NAME                    N  WHAT\n" +
			"a                       5  short\n" +
			"a-rather-long-name  1,000  a text that is longer than the rest of the line\n"},
		"fits": {40, "NAME                 N  WHAT\n" +
			"a                    5  short\n" +
			"a-rather-long-…  1,000  a text that is …\n"},
		"too narrow for that": {10, "NAME          N  WHAT\n" +
			"a             5  short\n" +
			"a-rathe…  1,000  a text …\n"},
	} {
		var out bytes.Buffer
		p := New(&out, "never", noEnv).WithWidth(tt.width)
		if err := p.Table(table); err != nil || out.String() != tt.want {
			t.Errorf("%s: got\n%s%v\nwant\n%s", name, out.String(), err, tt.want)
		}
	}
}

func TestEmptyTableHasNoHeader(t *testing.T) {
	var out bytes.Buffer
	if err := New(&out, "never", noEnv).Table(&Table{Header: []string{"NAME"}}); err != nil || out.Len() > 0 {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestColour(t *testing.T) {
	env := func(set map[string]string) func(string) (string, bool) {
		return func(name string) (string, bool) { v, ok := set[name]; return v, ok }
	}
	for name, tt := range map[string]struct {
		mode string
		env  map[string]string
		want bool
	}{
		"always":              {"always", nil, true},
		"always in spite":     {"always", map[string]string{"NO_COLOR": "1"}, true},
		"never":               {"never", nil, false},
		"auto, no terminal":   {"auto", nil, false},
		"auto, dumb terminal": {"auto", map[string]string{"TERM": "dumb"}, false},
	} {
		p := New(&bytes.Buffer{}, tt.mode, env(tt.env))
		if got := p.Paint(Good, "x") != "x"; got != tt.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if got := New(&bytes.Buffer{}, "always", noEnv).Paint(Bad, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("got %q", got)
	}
}

// FuzzClean: nothing that comes from elsewhere controls the terminal.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "orders", "a\x1b[2Jb", "a\rb\nc", "\x9b31m", "\u202eabc", "\xff", "naïve…"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if strings.ContainsFunc(got, unicode.IsControl) || strings.ContainsFunc(got, harmful) {
			t.Errorf("%q became %q", s, got)
		}
		if again := Clean(got); again != got {
			t.Errorf("%q became %q, then %q", s, got, again)
		}
	})
}

func TestNumbers(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{Rate(0), "0"},
		{Rate(0.44), "0.4"},
		{Rate(5), "5"},
		{Rate(9.96), "10"},
		{Rate(1234), "1234"},
		{Rate(12345), "12.3k"},
		{Rate(3.2e6), "3.2M"},
		{Seconds(0), "–"},
		{Seconds(0.00087), "870µs"},
		{Seconds(0.00123), "1.23ms"},
		{Seconds(0.0123), "12.3ms"},
		{Seconds(0.25), "250ms"},
		{Seconds(1.5), "1.50s"},
		{Count(0), "0"},
		{Count(999), "999"},
		{Count(1234567), "1,234,567"},
		{Count(-1234), "-1,234"},
		{Ago(3 * time.Second), "3s"},
		{Ago(63 * time.Second), "1m03s"},
		{Ago(3*time.Hour + 5*time.Minute), "3h05m"},
		{Ago(72 * time.Hour), "3d"},
		{Ago(-time.Second), "0s"},
		{Cut("abcdef", 4), "abc…"},
		{Cut("abcd", 4), "abcd"},
		{Cut("abcd", 0), ""},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}
