package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFilters(t *testing.T) {
	t.Chdir("testdata/good")
	cfg, err := Load("filters.yaml", Options{Env: envOf(nil)})
	if err != nil {
		t.Fatal(err)
	}
	none, oops := Content{"pages/404.html", "<h1>none</h1>\n"}, Content{"pages/oops.json", "{}"}
	if want := map[string]Content{"no_route": none, "5xx": oops}; !reflect.DeepEqual(cfg.ErrorPages, want) {
		t.Errorf("error pages %v, want %v", cfg.ErrorPages, want)
	}
	all := Match{Path: "/", PathType: "prefix"}
	some := all
	some.HeadersRegex, some.Query = map[string]string{"X-A": "^v[0-9]+$"}, map[string]string{"a": "1", "b": ""}
	want := []Route{
		{
			Name: "all", Service: "orders", Match: some, ErrorPages: map[string]Content{"503": oops},
			Rewrite: &PathRewrite{"^/old/(?P<rest>.*)$", "/new/${rest}$$1$1"},
			Override: Override{
				ConnectTimeout: new(time.Millisecond), Timeout: new(time.Duration(0)),
				IdleTimeout: new(2 * time.Second), TotalTimeout: new(time.Hour), Retry: RetryOverride{Attempts: new(0)},
			},
			RequestHeaders: HeaderEdits{
				map[string]string{"X-Ip": "$client_ip"}, map[string]string{"X-B": "$host:$scheme"}, []string{"Cookie"},
			},
			ResponseHeaders: HeaderEdits{Remove: []string{"Server"}},
		},
		{Name: "redirect", Match: all, Redirect: &Redirect{302, "$scheme://$host$path?$query"}, StripPrefix: "/a"},
		{Name: "moved", Match: all, Redirect: &Redirect{301, "/b"}},
		{Name: "text", Match: all, Respond: &Respond{
			Status: 200, Body: "a\nb", ContentType: "text/css", Headers: map[string]string{"X-C": "$d"},
		}},
		{Name: "file", Match: all, Respond: &Respond{Status: 404, BodyFile: none}},
	}
	for i, r := range cfg.Routes {
		if r.Pos = (Pos{}); i >= len(want) || !reflect.DeepEqual(r, want[i]) {
			t.Errorf("route %d: got %+v", i, r)
		}
	}
	for _, file := range []string{none.Path, oops.Path} {
		if !slices.Contains(cfg.Files, file) {
			t.Errorf("%s is not among the files %q", file, cfg.Files)
		}
	}
}

// What a file holds is part of the configuration, and bounded.
func TestContent(t *testing.T) {
	main := writeFiles(t, map[string]string{
		"main.yaml":     "include: sub/a.yaml",
		"sub/a.yaml":    "error_pages: {5xx: oops.HTML}",
		"sub/oops.HTML": "one",
	})
	page := filepath.Join(filepath.Dir(main), "sub/oops.HTML")
	load := func() *Config {
		cfg, err := Load(main, Options{Env: envOf(nil)})
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	first := load()
	if got := first.ErrorPages["5xx"]; got != (Content{page, "one"}) || got.Type() != "text/html; charset=utf-8" {
		t.Errorf("got %v of type %s", got, got.Type())
	}
	if err := os.WriteFile(page, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if second := load(); second.ErrorPages["5xx"].Data != "two" || second.Hash == first.Hash {
		t.Errorf("changed: got %v, hash %s", second.ErrorPages, second.Hash)
	}
	if err := os.WriteFile(page, make([]byte, maxContentSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(main, Options{Env: envOf(nil)})
	if err == nil || !strings.Contains(err.Error(), "larger than 1MiB") {
		t.Errorf("too large: got %v", err)
	}
}

// An override replaces what it names, with nothing too, and leaves the rest.
func TestOver(t *testing.T) {
	base := Policy{
		Balance: "b", ConnectTimeout: 1, Timeout: 2, IdleTimeout: 3, TotalTimeout: 4, Retry: Retry{Attempts: 5},
	}
	if got := (&Override{}).Over(base); !reflect.DeepEqual(got, base) {
		t.Errorf("nothing: got %+v", got)
	}
	o := Override{
		Timeout: new(time.Duration(0)), TotalTimeout: new(time.Duration(9)),
		Retry: RetryOverride{
			new(0), new([]string{}), new([]int{503}), new([]string{"internal"}), new(time.Duration(7)),
		},
	}
	want := base
	want.Timeout, want.TotalTimeout = 0, 9
	want.Retry = Retry{On: []string{}, RetriableStatus: []int{503}, GRPCStatus: []string{"internal"}, PerTryTimeout: 7}
	if got := o.Over(base); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseTemplate(t *testing.T) {
	value := func(name string) string { return "<" + name + ">" }
	for text, want := range map[string]string{
		"":                   "",
		"plain":              "plain",
		"$host":              "<host>",
		"a$host":             "a<host>",
		"$host$scheme-$host": "<host><scheme>-<host>",
		"$$host":             "$host",
		"$$$host$$":          "$<host>$",
		"$host:80":           "<host>:80",
		"$hostname":          `unknown variable "$hostname", expected one of client_ip, host, scheme`,
		"$Host":              "a dollar sign begins no variable: write $$ for a plain one",
		"5$":                 "a dollar sign begins no variable: write $$ for a plain one",
	} {
		parsed, err := ParseTemplate(text, HeaderVariables())
		got := parsed.Expand(value)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// FuzzParseTemplate: what is parsed expands to the text again when a variable stands
// for its own name.
func FuzzParseTemplate(f *testing.F) {
	for _, s := range []string{"", "$host", "a$$b$scheme", "$", "$$$", "$hos", "${host}", "$client_ip$host"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := ParseTemplate(text, HeaderVariables())
		if err != nil {
			return
		}
		plain := parsed.Expand(func(name string) string { return "\x00" + name })
		got := strings.ReplaceAll(strings.ReplaceAll(plain, "$", "$$"), "\x00", "$")
		if !strings.Contains(text, "\x00") && got != text {
			t.Errorf("%q became %q", text, got)
		}
		for i, p := range parsed {
			if (p.Text == "") == (p.Variable == "") || i > 0 && p.Text != "" && parsed[i-1].Text != "" {
				t.Errorf("%q: part %d of %q", text, i, parsed)
			}
		}
	})
}

// FuzzReplacement: a text that the check lets through is a path once it is expanded,
// and names only groups that are there: more groups make no difference, and no dollar
// sign is left but the escaped ones.
func FuzzReplacement(f *testing.F) {
	for _, s := range []string{
		"/$1", "/${1}a", "/$1a", "/$$", "/${name}", "/$nam", "/$", "/${", "/$2", "/$01", "/$1é", "/$é",
	} {
		f.Add(s)
	}
	two, more := regexp.MustCompile("(?P<name>a)"), regexp.MustCompile("(?P<name>((((((((a)))))))))")
	f.Fuzz(func(t *testing.T, to string) {
		d := newDecoder(&problems{})
		newChecker(d).replacement("to", to, two)
		if d.problems.err() != nil || to == "" {
			return
		}
		got := two.ReplaceAllString("a", to)
		dollars := strings.Count(got, "$") - strings.Count(to, "$$")
		if got[0] != '/' || dollars != 0 || got != more.ReplaceAllString("a", to) {
			t.Errorf("%q became %q", to, got)
		}
	})
}
