package routetable

import (
	"bytes"
	"net/url"
	"strings"
	"testing"
)

// What is stripped is what the path says when decoded, as it is matched, however both
// sides are written. The rest stays as it came.
func TestStripDecodes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, strip, target, want string }{
		{"plain", "/api", "/api/x", "/x"},
		{"other", "/api", "/other/x", "/other/x"},
		{"a letter is encoded", "/api", "/%61pi/x", "/x"},
		{"in both ways", "/a%70i", "/%61p%69/x", "/x"},
		{"a space", "/a%20b", "/a%20b/x", "/x"},
		{"a space, written plain", "/a b", "/a%20b/x", "/x"},
		{"the rest stays encoded", "/api", "/%61pi/%62%2F?%63", "/%62%2F?%63"},
		{"an encoded slash", "/a/b", "/a%2Fb/c", "/c"},
		{"a per cent sign", "/100%25", "/100%25/x", "/x"},
		{"a per cent sign, written plain", "/100%", "/100%25/x", "/x"},
		{"decoded once", "/a", "/%2561/x", "/%2561/x"},
		{"no encoding", "/%zz", "/%zz/x", "/x"},
		{"not within an encoding", "/a%2", "/a%20b", "/a%20b"},
		{"behind it an encoding", "/a", "/a%20b", "/%20b"},
		{"all of the path", "/api", "/%61pi", "/"},
		{"all of the path, with a query", "/api", "/%61pi?q", "/?q"},
		{"not into the query", "/api?q", "/api?q", "/api?q"},
		{"shorter", "/api", "/ap", "/ap"},
		{"shorter, a query", "/api", "/ap?i", "/ap?i"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := &Rewrite{Strip: tc.strip}
			if got := string(r.Target(nil, []byte(tc.target))); got != tc.want {
				t.Errorf("%s of %s leaves %s, want %s", tc.strip, tc.target, got, tc.want)
			}
		})
	}
}

// FuzzStrip holds that what is stripped of a path is, decoded, what was to be stripped,
// and that nothing is left over that should have been.
func FuzzStrip(f *testing.F) {
	f.Add("/api", "/%61pi/x")
	f.Add("/a%20b", "/a%20b?x")
	f.Add("/a%2", "/a%20b")
	f.Fuzz(func(t *testing.T, strip, target string) {
		n := (&Rewrite{Strip: strip}).Stripped([]byte(target))
		path, _, _ := strings.Cut(target, "?")
		want, err := url.PathUnescape(strip)
		plain, err2 := url.PathUnescape(path)
		if err != nil || err2 != nil {
			return
		}
		if n == 0 {
			if want != "" && strings.HasPrefix(plain, want) {
				t.Fatalf("%q is not stripped of %q", strip, target)
			}
			return
		}
		got, err := url.PathUnescape(path[:n])
		if err != nil || got != want {
			t.Fatalf("%q of %q strips %q (%v)", strip, target, path[:n], err)
		}
	})
}

func TestStripAllocatesNothing(t *testing.T) {
	r := &Rewrite{Strip: "/api"}
	var dst []byte
	target := []byte("/%61pi/x")
	if n := testing.AllocsPerRun(100, func() { dst = r.Target(dst[:0], target) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if !bytes.Equal(dst, []byte("/x")) {
		t.Errorf("got %s", dst)
	}
}
