package fabio

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseProperties(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"equals":                 {"a.b = c d ", "a.b=c d"},
		"colon":                  {"a:b", "a=b"},
		"white space":            {"a   b c", "a=b c"},
		"white space and equals": {"a   =   b", "a=b"},
		"no value":               {"a", "a="},
		"comments":               {"# a=1\n ! b=2\nc=3", "c=3"},
		"a hash in a value":      {"a=1 # 2", "a=1 # 2"},
		"continued":              {"a = b,\\\n   c,\\\n\td\ne=f", "a=b,c,d|e=f"},
		"continued by a comment": {"a = b\\\n# c\nd=e", "a=b# c|d=e"},
		"an escaped backslash":   {"a = b\\\\\nc=d", `a=b\|c=d`},
		"comments don't go on":   {"# a\\\nb=c", "b=c"},
		"CRLF":                   {"a=b\r\nc=d\r\n", "a=b|c=d"},
		"escapes":                {`a=\t\u0041\n\:\q\u00`, "a=A\n:qu00"},
		"an escaped key":         {`a\=b\:c\ d=e`, "a=b:c d=e"},
		"twice":                  {"a=1\nb=2\na=3", "a=3|b=2"},
		"references":             {"a=${b}/${HOME}\nb=<${c}>\nc=x", "a=<x>/me|b=<x>|c=x"},
		"an unknown reference":   {"a=x${none}y", "a=xy"},
		"a circle":               {"a=${b}\nb=${a}", "a=|b="},
		"an open reference":      {"a=${b", "a=${b"},
		"not UTF-8":              {"a=\xff", "a=\uFFFD"},
		"at the end":             {"a=b\\", "a=b"},
	} {
		t.Run(name, func(t *testing.T) {
			p := ParseProperties("f", c.text, func(name string) (string, bool) { return "me", name == "HOME" })
			var got []string
			for _, x := range p.list {
				got = append(got, x.Key+"="+x.Value)
			}
			if s := strings.Join(got, "|"); s != c.want {
				t.Errorf("got %q, want %q", s, c.want)
			}
		})
	}
}

// What is resolved or given up is told.
func TestPropertiesNotes(t *testing.T) {
	p := ParseProperties("f", "a=${none}\n\na=${b}\nb=${b}\nc=${VAR}", func(n string) (string, bool) {
		return "v", n == "VAR"
	})
	list := Convert(Input{Properties: p}).Notes
	for _, want := range []struct {
		kind  Kind
		parts []string
	}{
		{Differs, []string{"f:1 a", "set again at f:3"}},
		{Todo, []string{"f:4 b", "${b}", "left empty"}},
		{Differs, []string{"f:5 c", "VAR"}},
	} {
		if !has(list, want.kind, want.parts...) {
			t.Errorf("no note %v in %v", want, list)
		}
	}
	if has(list, Todo, "${none}") {
		t.Error("a value that is not in force was resolved")
	}
	var none *Properties
	if none.Get("a") != "" || p.Get("c") != "v" {
		t.Error("Get is wrong")
	}
}

func TestParseGroups(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []fields
	}{
		"one":           {":9999", []fields{{{"", ":9999"}}}},
		"options":       {":1;cs=a;it=5s", []fields{{{"", ":1"}, {"cs", "a"}, {"it", "5s"}}}},
		"several":       {":1, :2;proto=tcp", []fields{{{"", ":1"}}, {{"", ":2"}, {"proto", "tcp"}}}},
		"key first":     {"addr=:1;proto=http", []fields{{{"addr", ":1"}, {"proto", "http"}}}},
		"quoted":        {`cs=a;hdr="x: 1,2;3"`, []fields{{{"cs", "a"}, {"hdr", "x: 1,2;3"}}}},
		"single quotes": {`cs='a,b'`, []fields{{{"cs", "a,b"}}}},
		"equals inside": {"cs=a;cert=http://h/?x=y", []fields{{{"cs", "a"}, {"cert", "http://h/?x=y"}}}},
		"empty":         {" , ;,", nil},
		"open quotes":   {`cs="a`, nil},
		"no value":      {"a;b", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseGroups(c.text)
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
	for _, bad := range []string{`cs="a`, "a;b", `a="\q"`} {
		if _, err := parseGroups(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// FuzzProperties: whatever the file holds, the conversion is one that usher loads, and
// each setting is told of.
func FuzzProperties(f *testing.F) {
	for _, text := range []string{
		fullProperties, "proxy.addr=:1,:1;proto=prometheus,{{GetPrivateIP}}:9\nui.addr=:1",
		"registry.backend=static\nregistry.static.routes=route add a /a http://b:1/\\nroute del a",
		"a=${b}${b}\nb=${a}", "registry.consul.token=${x}$${y}\\u0000", "x\\\n\\", "log.level=\xff",
	} {
		f.Add(text)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		p := ParseProperties("p", text, noEnv)
		r := Convert(Input{Properties: p})
		load(t, dir, r)
		for _, x := range p.list {
			if !told(r.Notes, x) {
				t.Errorf("%q was dropped in silence", x)
			}
		}
	})
}

func told(list []Note, p Property) bool {
	for _, n := range list {
		if n.Where == p.Where {
			return true
		}
	}
	return p.Key == "registry.static.routes" && len(list) > 0
}
