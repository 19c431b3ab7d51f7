package accesslog

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"usher/config"
)

// Whatever clients send, an entry is one line, of valid JSON or without anything that ends
// a quoted string or is a control character.
func FuzzInjection(f *testing.F) {
	for _, s := range []string{
		"", "a", "a\r\nb", `"`, `\`, `\"`, "\x00\x1f\x7f", "\xff\xfe", "é\u2028\u202e\u0085", "12345678\x07",
		"\xed\xa0\x80",
		strings.Repeat("x", 20) + "\n", "${x}", "%0a", `{"a":1}`, "/?token=\n&a=\"", "😀",
	} {
		f.Add([]byte(s))
	}
	headers := []string{"X-Any"}
	encoders := map[string]*encoder{}
	for _, c := range []config.AccessLog{
		{Format: config.AccessJSON, RequestHeaders: headers, ResponseHeaders: headers},
		{Format: config.AccessCombined},
		{
			Format: config.AccessTemplate, RequestHeaders: headers,
			Template: `"$target" "$host" "$user_agent" "$request_header_x_any" "$route"`,
		},
	} {
		encoders[c.Format] = &encoder{program: newProgram(c)}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		field := bytes.ReplaceAll(b, []byte("\n"), nil) // it would be the next line of the head
		e := &Entry{
			Listener: string(b), Client: b, Method: b, Target: b, Host: b, RequestID: b, Route: string(b),
			Service: string(b), Endpoint: string(b), Address: string(b),
			TLS:      &TLS{Name: string(b), Identity: string(b)},
			Head:     []byte("GET / HTTP/1.1\r\nUser-Agent: " + string(field) + "\r\nX-Any: " + string(field) + "\r\n"),
			Response: append(append([]byte("X-Any: "), field...), "\r\n"...),
		}
		for format, n := range encoders {
			line := n.line(nil, e)
			if format == config.AccessJSON {
				checkSame(t, n, e, line)
			}
			if bytes.IndexByte(line, '\n') != len(line)-1 {
				t.Fatalf("%s: not one line: %q", format, line)
			}
			for _, r := range string(line[:len(line)-1]) {
				if r < ' ' || r == 0x7f || unprintable(r) && r >= utf8.RuneSelf {
					t.Fatalf("%s: a control character: %q", format, line)
				}
			}
			switch format {
			case config.AccessJSON:
				checkJSON(t, line, b)
			case config.AccessTemplate:
				if bytes.Count(line, []byte{'"'}) != 10 {
					t.Fatalf("quotes: %q", line)
				}
			}
		}
	})
}

// checkSame checks that the standard line is what its program writes.
func checkSame(t *testing.T, n *encoder, e *Entry, line []byte) {
	t.Helper()
	stepwise := *n.program
	stepwise.all = false
	general := &encoder{program: &stepwise}
	if got := general.line(nil, e); !bytes.Equal(got, line) {
		t.Fatalf("step by step: %q\nin a row:     %q", got, line)
	}
	if again := n.line(nil, e); !bytes.Equal(again, line) {
		t.Fatalf("again: %q\nfirst: %q", again, line)
	}
}

// checkJSON checks that a value reads as what was sent, but for what is no UTF-8.
func checkJSON(t *testing.T, line, sent []byte) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%v: %q", err, line)
	}
	if len(sent) == 0 || len(sent) > maxValue {
		return
	}
	want, err := json.Marshal(string(sent))
	if err != nil {
		t.Fatal(err)
	}
	var text string
	if err := json.Unmarshal(want, &text); err != nil {
		t.Fatal(err)
	}
	if got["host"] != text {
		t.Fatalf("got %q, want %q", got["host"], text)
	}
}
