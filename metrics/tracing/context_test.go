package tracing

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// fields is a head: name and value by turns.
type fields []string

func (f fields) Field(name string, nth int) ([]byte, bool) {
	for i := 0; i < len(f); i += 2 {
		if strings.EqualFold(f[i], name) {
			if nth == 0 {
				return []byte(f[i+1]), true
			}
			nth--
		}
	}
	return nil, false
}

func (f fields) Traceparent() []byte { return only(f, "traceparent") }

func (f fields) B3() []byte { return only(f, "b3") }

const (
	aTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	aSpan  = "00f067aa0ba902b7"
	half   = "a3ce929d0e0e4736"
)

// told is a Context in text.
func told(c Context) string {
	if !c.named() {
		return []string{"", "accepted", "denied"}[c.verdict]
	}
	s := hex.EncodeToString(c.Trace[:]) + " " + hex.EncodeToString(c.Parent[:])
	if c.verdict != undecided {
		s += " " + []string{"", "accepted", "denied"}[c.verdict]
	}
	if c.debug {
		s += " debug"
	}
	return s
}

func TestExtract(t *testing.T) {
	parent := "00-" + aTrace + "-" + aSpan
	whole := aTrace + " " + aSpan
	for _, c := range []struct {
		name    string
		formats []format
		head    fields
		want    string
	}{
		{"nothing", []format{w3c}, nil, ""},
		{"sampled", []format{w3c}, fields{"traceparent", parent + "-01"}, whole + " accepted"},
		{"not sampled", []format{w3c}, fields{"Traceparent", parent + "-00"}, whole + " denied"},
		{"unknown flags", []format{w3c}, fields{"traceparent", parent + "-fe"}, whole + " denied"},
		{
			"a version to come", []format{w3c}, fields{
				"traceparent",
				"cc" + parent[2:] + "-01-what",
			}, whole + " accepted",
		},
		{
			"a version to come, as long",
			[]format{w3c},
			fields{"traceparent", "cc" + parent[2:] + "-01"},
			whole + " accepted",
		},
		{"a version to come, run together", []format{w3c}, fields{"traceparent", "cc" + parent[2:] + "-01what"}, ""},
		{"version ff", []format{w3c}, fields{"traceparent", "ff" + parent[2:] + "-01"}, ""},
		{"version 00, longer", []format{w3c}, fields{"traceparent", parent + "-01-what"}, ""},
		{"upper case", []format{w3c}, fields{"traceparent", strings.ToUpper(parent) + "-01"}, ""},
		{"no trace", []format{w3c}, fields{"traceparent", "00-" + strings.Repeat("0", 32) + "-" + aSpan + "-01"}, ""},
		{"no span", []format{w3c}, fields{"traceparent", "00-" + aTrace + "-0000000000000000-01"}, ""},
		{"flags that are none", []format{w3c}, fields{"traceparent", parent + "-0g"}, ""},
		{"version that is none", []format{w3c}, fields{"traceparent", "0g" + parent[2:] + "-01"}, ""},
		{"short", []format{w3c}, fields{"traceparent", parent}, ""},
		{"twice", []format{w3c}, fields{"traceparent", parent + "-01", "traceparent", parent + "-01"}, ""},
		{"not understood", []format{b3Single}, fields{"traceparent", parent + "-01"}, ""},
		{"none is understood", nil, fields{"traceparent", parent + "-01"}, ""},

		{"b3", []format{b3Single}, fields{"b3", aTrace + "-" + aSpan + "-1"}, whole + " accepted"},
		{"b3, denied", []format{b3Single}, fields{"b3", aTrace + "-" + aSpan + "-0"}, whole + " denied"},
		{"b3, debug", []format{b3Single}, fields{"b3", aTrace + "-" + aSpan + "-d"}, whole + " accepted debug"},
		{"b3, left open", []format{b3Single}, fields{"b3", aTrace + "-" + aSpan}, whole},
		{
			"b3 with a parent", []format{b3Single}, fields{
				"b3",
				aTrace + "-" + aSpan + "-1-" + half,
			}, whole + " accepted",
		},
		{
			"b3 of 64 bits",
			[]format{b3Single},
			fields{"b3", half + "-" + aSpan + "-1"},
			"0000000000000000" + half + " " + aSpan + " accepted",
		},
		{
			"b3 of 64 bits, left open",
			[]format{b3Single},
			fields{"b3", half + "-" + aSpan},
			"0000000000000000" + half + " " + aSpan,
		},
		{"b3, a decision alone", []format{b3Single}, fields{"b3", "0"}, "denied"},
		{"b3, debug alone", []format{b3Single}, fields{"b3", "d"}, "accepted"},
		{"b3, another state", []format{b3Single}, fields{"b3", aTrace + "-" + aSpan + "-2"}, ""},
		{"b3, state run together", []format{b3Single}, fields{"b3", aTrace + "-" + aSpan + "1"}, ""},
		{"b3, a bad parent", []format{b3Single}, fields{"b3", aTrace + "-" + aSpan + "-1-xyz"}, ""},
		{"b3 twice", []format{b3Single}, fields{"b3", "0", "b3", "1"}, ""},
		{"b3 empty", []format{b3Single}, fields{"b3", ""}, ""},

		{
			"multi",
			[]format{b3Multi},
			fields{"X-B3-TraceId", aTrace, "X-B3-SpanId", aSpan, "X-B3-Sampled", "1"},
			whole + " accepted",
		},
		{
			"multi, read where the single one is sent",
			[]format{b3Single},
			fields{"X-B3-TraceId", aTrace, "X-B3-SpanId", aSpan, "X-B3-Sampled", "0"},
			whole + " denied",
		},
		{
			"multi, in words",
			[]format{b3Multi},
			fields{"X-B3-TraceId", aTrace, "X-B3-SpanId", aSpan, "X-B3-Sampled", "true"},
			whole + " accepted",
		},
		{
			"multi, debug",
			[]format{b3Multi},
			fields{"X-B3-TraceId", aTrace, "X-B3-SpanId", aSpan, "X-B3-Flags", "1"},
			whole + " accepted debug",
		},
		{"multi, left open", []format{b3Multi}, fields{"X-B3-TraceId", aTrace, "X-B3-SpanId", aSpan}, whole},
		{"multi, a decision alone", []format{b3Multi}, fields{"X-B3-Sampled", "0"}, "denied"},
		{"multi, no span", []format{b3Multi}, fields{"X-B3-TraceId", aTrace, "X-B3-Sampled", "1"}, ""},
		{
			"multi, another decision",
			[]format{b3Multi},
			fields{"X-B3-TraceId", aTrace, "X-B3-SpanId", aSpan, "X-B3-Sampled", "yes"},
			"",
		},
		{
			"single before multi",
			[]format{b3Multi},
			fields{
				"b3", aTrace + "-" + aSpan + "-0", "X-B3-TraceId", half,
				"X-B3-SpanId", aSpan, "X-B3-Sampled", "1",
			},
			whole + " denied",
		},

		{
			"the last counts",
			[]format{w3c, b3Single},
			fields{"traceparent", parent + "-01", "b3", half + "-" + aSpan + "-0"},
			"0000000000000000" + half + " " + aSpan + " denied",
		},
		{
			"the last counts, otherwise",
			[]format{b3Single, w3c},
			fields{"traceparent", parent + "-01", "b3", half + "-" + aSpan + "-0"},
			whole + " accepted",
		},
		{
			"a decision alone is no trace",
			[]format{w3c, b3Single},
			fields{"traceparent", parent + "-01", "b3", "0"},
			whole + " accepted",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := told(extract(c.head, c.formats)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestState: a tracestate goes on as far as it is well formed, and not too long.
func TestState(t *testing.T) {
	long := "l@a=" + strings.Repeat("x", 200)
	many := make([]string, 33)
	for i := range many {
		many[i] = fmt.Sprintf("k%d=v", i)
	}
	var two []string
	for i := range 20 {
		two = append(two, fmt.Sprintf("key%02d=%s", i, strings.Repeat("v", 24)))
	}
	for _, c := range []struct {
		name string
		head fields
		want string
	}{
		{"none", nil, ""},
		{"one", fields{"tracestate", "a=1"}, "a=1"},
		{"white space and nothing between commas", fields{"tracestate", " a=1 ,,\tb=2 "}, "a=1,b=2"},
		{"two fields are one list", fields{"tracestate", "a=1", "Tracestate", "b=2,c=3"}, "a=1,b=2,c=3"},
		{"malformed", fields{"tracestate", "a=1,b"}, ""},
		{"a key twice", fields{"tracestate", "a=1,a=2"}, ""},
		{"too many", fields{"tracestate", strings.Join(many, ",")}, ""},
		{"as many as may be", fields{"tracestate", strings.Join(many[:32], ",")}, strings.Join(many[:32], ",")},
		{"a long member is kept where there is room", fields{"tracestate", "a=1," + long}, "a=1," + long},
		{
			"long members go first",
			fields{"tracestate", "m=1," + long + "," + strings.Join(two[:12], ",")},
			"m=1," + strings.Join(two[:12], ","),
		},
		{"then the last", fields{"tracestate", strings.Join(two, ",")}, strings.Join(two[:16], ",")},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := stateOf(c.head).String()
			if got != c.want || len(got) > stateMost {
				t.Errorf("got %q (%d), want %q", got, len(got), c.want)
			}
		})
	}
}

// TestTold: what is written is read as what it was.
func TestTold(t *testing.T) {
	c := extract(fields{"traceparent", "00-" + aTrace + "-" + aSpan + "-03"}, []format{w3c})
	span := newSpanID()
	for _, f := range []struct {
		name    string
		format  format
		debug   bool
		written fields
	}{
		{"w3c", w3c, false, fields{"traceparent", c.traceparent(span)}},
		{"b3", b3Single, false, fields{"b3", c.b3(span)}},
		{"multi", b3Multi, false, listed(c.appendB3Multi(nil, span))},
	} {
		got := extract(f.written, []format{f.format})
		if got.Trace != c.Trace || got.Parent != span || got.verdict != accepted {
			t.Errorf("%s: %v is read as %q", f.name, f.written, told(got))
		}
	}
	if got := c.traceparent(span); !strings.HasSuffix(got, "-03") {
		t.Errorf("the flag of a random name is lost: %s", got)
	}
	c.debug = true
	if got := extract(listed(c.appendB3Multi(nil, span)), []format{b3Multi}); !got.debug {
		t.Error("debug is lost in several fields")
	}
	if got := extract(fields{"b3", c.b3(span)}, []format{b3Single}); !got.debug {
		t.Error("debug is lost in one field")
	}
}

func listed(fs []Field) (out fields) {
	for _, f := range fs {
		out = append(out, f.Name, f.Value)
	}
	return out
}

// FuzzTraceparent: what is read is what OpenTelemetry's own propagator reads.
func FuzzTraceparent(f *testing.F) {
	for _, s := range []string{
		"", "00-" + aTrace + "-" + aSpan + "-01", "cc-" + aTrace + "-" + aSpan + "-00-x",
		"ff-" + aTrace + "-" + aSpan + "-01",
		"00-" + aTrace + "-" + aSpan + "-0g",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := parseTraceparent([]byte(s))
		if refuses([]byte(s)) && (!ok || c.verdict != denied) {
			t.Fatalf("%q: refused at once, and %q at length", s, told(c))
		}
		carrier := propagation.MapCarrier{"traceparent": s}
		theirs := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(t.Context(), carrier))
		if theirs.IsValid() && !ok && !strings.HasSuffix(s, "-") { // theirs overlooks that one
			t.Fatalf("%q: theirs is %v, ours is none", s, theirs)
		}
		if !ok {
			return
		}
		if !c.named() || c.Parent == [8]byte{} || c.verdict == undecided {
			t.Fatalf("%q: not whole: %q", s, told(c))
		}
		if theirs.IsValid() && (theirs.TraceID() != c.Trace || theirs.SpanID() != c.Parent ||
			theirs.IsSampled() != (c.verdict == accepted)) {
			t.Fatalf("%q: theirs is %v, ours is %q", s, theirs, told(c))
		}
	})
}

func FuzzB3(f *testing.F) {
	for _, s := range []string{
		"", "0", "d", aTrace + "-" + aSpan + "-1", half + "-" + aSpan, half + "-" + aSpan + "-d-" + half,
	} {
		f.Add(s, aTrace, aSpan, "1", "1")
	}
	f.Add("", half, aSpan, "true", "")
	f.Fuzz(func(t *testing.T, single, traceID, span, sampled, flags string) {
		for _, h := range []fields{
			{"b3", single},
			{"x-b3-traceid", traceID, "x-b3-spanid", span, "x-b3-sampled", sampled, "x-b3-flags", flags},
		} {
			c, ok := extractB3(h)
			switch {
			case !ok && (c.named() || c.verdict != undecided) && single != "" && h[0] == "b3":
				t.Fatalf("%q: half read: %q", h, told(c))
			case ok && c.named() && (c.Parent == [8]byte{}):
				t.Fatalf("%q: a trace without a span", h)
			case ok && !c.named() && c.verdict == undecided:
				t.Fatalf("%q: it says nothing", h)
			case ok && c.named():
				again, ok := parseB3([]byte(c.b3(c.Parent)))
				if !ok || again.Trace != c.Trace || again.Parent != c.Parent || again.debug != c.debug {
					t.Fatalf("%q: written and read it is %q", h, told(again))
				}
			}
		}
	})
}

// FuzzState: what goes on is well formed and not too long.
func FuzzState(f *testing.F) {
	f.Add("a=1", "b=2")
	f.Add(strings.Repeat("a=1,", 200), "")
	f.Fuzz(func(t *testing.T, one, two string) {
		got := stateOf(fields{"tracestate", one, "tracestate", two}).String()
		if _, err := trace.ParseTraceState(got); err != nil || len(got) > stateMost {
			t.Fatalf("%q: %v", got, err)
		}
	})
}

// TestHex: eight digits are read as what they are, whatever stands in one of their places.
func TestHex(t *testing.T) {
	var dst [4]byte
	for at := range 8 {
		for c := range 256 {
			src := []byte("1a2f0c9e")
			src[at] = byte(c)
			want, err := hex.DecodeString(string(src))
			ok := err == nil && strings.ToLower(string(src)) == string(src)
			if notHex(binary.LittleEndian.Uint64(src)) == 0 != ok {
				t.Fatalf("%q: said to be hexadecimal: %t", src, !ok)
			}
			if got := hexOf(dst[:], src); got != ok || ok && string(dst[:]) != string(want) {
				t.Fatalf("%q: got %x %t, want %x %t", src, dst, got, want, ok)
			}
		}
	}
	if hexOf(dst[:], []byte("00000000")) || hexOf(dst[:], []byte("1a2f0c9")) {
		t.Error("what is zero or short is taken")
	}
	for n := range 256 {
		if got, ok := hexByte([]byte(fmt.Sprintf("%02x", n))); !ok || int(got) != n {
			t.Errorf("%02x: got %x %t", n, got, ok)
		}
	}
}

// TestRefuses: what is not recorded is seen at once where it is nothing but that.
func TestRefuses(t *testing.T) {
	plain := "00-" + aTrace + "-" + aSpan + "-00"
	for s, want := range map[string]bool{
		plain: true, plain[:53] + "02": true, plain[:53] + "01": false,
		plain[:53] + "03": false, plain[:53] + "04": false,
		plain[:53] + "10": false, "01" + plain[2:]: false, plain + "-": false, plain[1:]: false, "": false,
		"00-" + strings.Repeat("0", 32) + plain[35:]:    false,
		plain[:36] + strings.Repeat("0", 16) + "-00":    false,
		strings.Replace(plain, aSpan, aSpan[1:]+"g", 1): false, strings.ToUpper(plain): false,
		plain[:35] + "_" + plain[36:]: false, plain[:52] + "_" + plain[53:]: false,
	} {
		if got := refuses([]byte(s)); got != want {
			t.Errorf("%q: got %t", s, got)
		}
	}
}
