package core

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// cookies returns the values of the cookies of a name, as the core finds them.
func cookies(line []byte, name string) (values []string) {
	for len(line) > 0 {
		var value []byte
		if value, line = nextCookie(line, name); value != nil {
			values = append(values, string(value))
		}
	}
	return values
}

func TestNextCookie(t *testing.T) {
	for line, want := range map[string]string{
		"":                          "",
		"srv=1":                     "1",
		" srv=1 ":                   "1",
		"srv = 1":                   "1",
		"a=b; srv=1; c=d":           "1",
		"srv=1;srv=2":               "1,2",
		"srv=1,srv=2":               "1,srv=2",
		`srv="1"`:                   "1",
		`srv="`:                     `"`,
		"srv=":                      "",
		"srv":                       "",
		"=srv":                      "",
		"xsrv=1; srvx=2; SRV=3":     "",
		"a=srv=1":                   "",
		"srv=a=b":                   "a=b",
		";;; srv=1 ;;":              "1",
		"a=\"x; srv=1\"":            `1"`,
		strings.Repeat(";", 10_000): "",
	} {
		if got := strings.Join(cookies([]byte(line), "srv"), ","); got != want {
			t.Errorf("%.50q: got %q, want %q", line, got, want)
		}
	}
}

func TestParameter(t *testing.T) {
	for target, want := range map[string]string{
		"/": "", "/?": "", "/?a": "", "/?a=": "", "/?a=1": "1", "/?b=2&a=1&a=3": "1", "/?ba=1&a=2": "2", "/a=1": "",
		"/?a=1=2": "1=2", "/?&&a=%41": "%41", "/?x?a=1": "", "/?a=1?b": "1?b",
	} {
		if got := string(parameter([]byte(target), "a")); got != want {
			t.Errorf("%q: got %q, want %q", target, got, want)
		}
	}
}

// What net/http takes for a cookie of the name the core does too, and it finds no value
// that is not in the line. It always comes to an end.
func FuzzNextCookie(f *testing.F) {
	for _, s := range []string{"srv=1", "a=b; srv=\"x\"; srv=", "srv", ";;=;srv==", "srv=1,srv=2", " srv\t=\t1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got := cookies([]byte(line), "srv")
		for _, value := range got {
			if !bytes.Contains([]byte(line), []byte(value)) || strings.Contains(value, ";") {
				t.Errorf("%q: found %q", line, value)
			}
		}
		parsed, err := http.ParseCookie(line)
		if err != nil || strings.ContainsAny(line, "\r\n") { // no field has those
			return
		}
		// The two differ in what they make of blanks around the value.
		bare := func(value string) string { return strings.Trim(value, " \t\"") }
		at := 0
		for _, c := range parsed {
			if c.Name != "srv" || bare(c.Value) == "" {
				continue
			}
			for at < len(got) && bare(got[at]) != bare(c.Value) {
				at++
			}
			if at == len(got) {
				t.Errorf("%q: %q is not among %q", line, c.Value, got)
				return
			}
			at++
		}
	})
}

func BenchmarkNextCookie(b *testing.B) {
	line := []byte("theme=dark; _ga=GA1.2.1234567890.1234567890; session=0123456789abcdef; srv=0123456789abcdef012345")
	b.ReportAllocs()
	for b.Loop() {
		if value, _ := nextCookie(line, "srv"); len(value) != 22 {
			b.Fatal(string(value))
		}
	}
}
