package forward

import (
	"bytes"
	"net/url"
	"testing"
)

func TestAppendGRPCMessage(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"no_route":                     "no_route",
		"connect_failed: 100% of it":   "connect_failed: 100%25 of it",
		"a\r\ngrpc-status: 0\x00\x7f~": "a%0D%0Agrpc-status: 0%00%7F~",
		"\t☺":                          "%09%E2%98%BA",
	} {
		if got := string(appendGRPCMessage(nil, text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// FuzzGRPCMessage: the value is visible ASCII, and decodes to what was said.
func FuzzGRPCMessage(f *testing.F) {
	for _, s := range []string{"", "%", "%41", "\r\n", "ü", "\xff\x00", "a b+c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := appendGRPCMessage([]byte("x"), text)[1:]
		if i := bytes.IndexFunc(got, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
			t.Fatalf("%q: %q holds what no field may", text, got)
		}
		back, err := url.PathUnescape(string(got))
		if err != nil || back != text {
			t.Fatalf("%q became %q, which is %q (%v)", text, got, back, err)
		}
	})
}
