package fabio

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParseCommand(t *testing.T) {
	for line, want := range map[string]string{
		`route add a /x http://h:1/`:                              `add a /x http://h:1/ 0 [] []`,
		"route  add\ta  /x   http://h:1/   weight 0.2":            `add a /x http://h:1/ 0.2 [] []`,
		`route add a /x http://h:1/ tags "b, c"`:                  `add a /x http://h:1/ 0 [b c] []`,
		`route add a /x http://h:1/ opts "b=c d e=f=g b=h"`:       `add a /x http://h:1/ 0 [] [{b h} {d } {e f=g}]`,
		`route add a /x http://h:1/ weight 1 tags "b" opts "c=d"`: `add a /x http://h:1/ 1 [b] [{c d}]`,
		`route add a /x http://h:1/ tags ""`:                      `add a /x http://h:1/ 0 [] []`,
		`route del a`:                                             `del a   0 [] []`,
		`route del a /x`:                                          `del a /x  0 [] []`,
		`route del a /x http://h:1/`:                              `del a /x http://h:1/ 0 [] []`,
		`route del a tags "b,c"`:                                  `del a   0 [b c] []`,
		`route del tags "b"`:                                      `del    0 [b] []`,
		`route del tags`:                                          `del tags   0 [] []`,
		`route weight a /x weight 0.5`:                            `weight a /x  0.5 [] []`,
		`route weight a /x weight 0.5 tags "b"`:                   `weight a /x  0.5 [b] []`,
		`route weight /x weight 0.5 tags "b"`:                     `weight  /x  0.5 [b] []`,
		`route weight weight weight weight 1`:                     `weight weight weight  1 [] []`,
		`route add a /x http://h:1/ opts "b=c" tags "d"`:          `error`,
		`route add a /x http://h:1/ weight x`:                     `error`,
		`route add a /x http://h:1/ weight`:                       `error`,
		`route add a /x http://h:1/ weight NaN`:                   `error`,
		`route add a /x`:                                          `error`,
		`route add a /x http://h:1/ tags "b`:                      `error`,
		`route add a /x http://h:1/ tags "b"c`:                    `error`,
		`route del`:                                               `error`,
		`route del tags ""`:                                       `error`,
		`route del a /x http://h:1/ more`:                         `error`,
		`route weight a /x`:                                       `error`,
		`route weight /x weight 0.5`:                              `error`,
		`route move a`:                                            `error`,
		`routes add a /x http://h:1/`:                             `error`,
		`route`:                                                   `error`,
		`add a /x http://h:1/`:                                    `error`,
	} {
		c, err := parseCommand(line)
		got := fmt.Sprint([]string{"add", "del", "weight"}[c.verb], " ", c.service, " ", c.src, " ", c.dst, " ",
			c.weight, " ", c.tags, " ", c.opts)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: got %s (%v), want %s", line, got, err, want)
		}
	}
}

func TestCommentsAndLines(t *testing.T) {
	var n notes
	got := parseCommands(Text{"kv", "# one\n\n  // two\r\n route del a \r\nnonsense\nroute del b"}, &n)
	if len(got) != 2 || got[0].where != "kv:4" || got[1].service != "b" {
		t.Errorf("got %+v", got)
	}
	if len(n.list) != 1 || !has(n.list, Todo, "kv:5", "nonsense") {
		t.Errorf("notes %v", n.list)
	}
}

// The commands act on what the ones before them made. Each case says which targets are
// left, with their shares of the route.
func TestRun(t *testing.T) {
	const start = `
route add a /x http://h:1/ tags "one"
route add a /x http://h:2/ tags "two,three"
route add b /x http://h:3/ tags "two"
route add a foo.com/y http://h:1/ tags "one"
`
	const all = "/x a:1 0.333333, /x a:2 0.333333, /x b:3 0.333333, foo.com/y a:1 1"
	for more, want := range map[string]string{
		"":                                all,
		"route del a":                     "/x b:3 1",
		"route del a /x":                  "/x b:3 1, foo.com/y a:1 1",
		"route del a /x http://h:2/":      "/x a:1 0.5, /x b:3 0.5, foo.com/y a:1 1",
		"route del a /x http://h:2":       all, // another URL
		"route del a Foo.com/y":           all, // the host is not lowered
		"route del a foo.com/y":           "/x a:1 0.333333, /x a:2 0.333333, /x b:3 0.333333",
		"route del a foo.com":             all,
		`route del tags "two"`:            "/x a:1 1, foo.com/y a:1 1",
		`route del tags "two,three"`:      "/x a:1 0.5, /x b:3 0.5, foo.com/y a:1 1",
		`route del b tags "one"`:          all,
		`route del a tags "one"`:          "/x a:2 0.5, /x b:3 0.5",
		"route weight a /x weight 0.8":    "/x a:1 0.4, /x a:2 0.4, /x b:3 0.2, foo.com/y a:1 1",
		"route weight b /x weight 2":      "/x a:1 0, /x a:2 0, /x b:3 1, foo.com/y a:1 1",
		"route weight c /x weight 2":      all,
		"route weight a /z weight 2":      all,
		"route weight a /x weight -1":     all,
		"route add a /x http://h:1/":      "/x a:1 0.25, /x a:2 0.25, /x b:3 0.25, /x a:1 0.25, foo.com/y a:1 1",
		"route add c FOO.com/y http://h/": all[:len(all)-1] + "0.5, foo.com/y c: 0.5",
		// The same target but for options.
		`route add b /x http://h:3/ tags "two" opts "strip=/x"`: all,

		"route weight /x weight 0.5 tags \"two\"\n" +
			"route weight a /x weight 0.1 tags \"one\"": "/x a:1 0.166667, /x a:2 0.416667, /x b:3 0.416667, " +
			"foo.com/y a:1 1",
		"route add c /x http://h:4/ weight 0.4\nroute del c\n" +
			"route add c /x http://h:5/ weight 0.4": "/x a:1 0.2, /x a:2 0.2, /x b:3 0.2, /x c:5 0.4, foo.com/y a:1 1",
	} {
		var n notes
		var tab table
		for _, c := range parseCommands(Text{"kv", start + more}, &n) {
			if _, err := tab.run(c); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, r := range tab.routes {
			for i, share := range r.shares() {
				x := r.targets[i]
				got = append(got, fmt.Sprintf("%s %s:%s %s", r.source(), x.service, x.url.Port(), number(round(share))))
			}
		}
		if s := strings.Join(got, ", "); s != want || len(n.list) > 0 {
			t.Errorf("%q:\n got %s %v\nwant %s", more, s, n.list, want)
		}
	}
}

// oracle says which services Fabio would send a request to: a naive reading of its
// rules over the list of targets.
func oracle(tab *table, host, path string) []string {
	var best *route
	for _, h := range []string{host, ""} {
		for _, r := range tab.routes {
			if r.host == h && r.path != "" && strings.HasPrefix(path, r.path) &&
				(best == nil || len(r.path) > len(best.path)) {
				best = r
			}
		}
		if best != nil {
			break
		}
	}
	if best == nil {
		return nil
	}
	var out []string
	for i, share := range best.shares() {
		if name := best.targets[i].service; share > 0 && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// FuzzCommands: whatever the commands are, usher loads the result. Where they are
// plain ones, each request reaches the services it reaches in Fabio.
func FuzzCommands(f *testing.F) {
	for _, text := range []string{
		"route add a /x http://h:1/\nroute add b h/x/y http://h:2/ weight 0.2\nroute weight b h/x/y weight 1",
		"route add a h/ http://h:1/\nroute add a h/ http://h:1/ weight 0.5\nroute del a /",
		"route add a@b \x01/\x02 http://[::1]:80/ tags \"urlprefix-/z,t\" opts \"host=dst strip=x prepend=y\"",
		"route add a :3306 tcp://h:1\nroute add a *.h:80/ https://h",
		"route add r /r https://$host$path opts \"redirect=301\"",
		"route add a h/$${x} http://h:1/ opts \"allow=ip:10.0.0.0/8 weight=3 listener=x proto=grpc\"",
		"route add a /x http://h:1/ weight 1e308\nroute add b /x http://h:2/ weight 1e308\nroute add c /x http://h:3/",
		"route add a /é%2f http://xn--h:1/?q=1\n",
	} {
		for _, matcher := range []byte{0, 1, 2} {
			f.Add(text, matcher)
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string, matcher byte) {
		in := commands(text)
		kind := []string{"prefix", "glob", "iprefix"}[matcher%3]
		in.Properties = ParseProperties("p", "proxy.matcher="+kind, noEnv)
		r := Convert(in)
		l := load(t, dir, r)
		if kind == "prefix" && plain(text) {
			agree(t, text, l)
		}
	})
}

// plain says whether commands use only what usher serves just as Fabio does.
func plain(text string) bool {
	const plainBytes = "abcdefghijklmnopqrstuvwxyz0123456789/:.\n "
	return strings.Trim(text, plainBytes) == "" && !strings.Contains(text, "//\n")
}

// agree compares usher with the oracle for requests to each source and below it.
func agree(t *testing.T, text string, l loaded) {
	t.Helper()
	var tab table
	for _, c := range parseCommands(Text{"kv", text}, &notes{}) {
		if _, err := tab.run(c); err != nil {
			return
		}
	}
	for _, r := range tab.routes {
		for _, x := range r.targets {
			if _, err := x.endpoint(); err != nil || x.url.Scheme != "http" || x.fixed > 1e6 {
				return // the sum of enormous weights is infinite to Fabio, and nobody gets traffic
			}
		}
		if r.path == "" || strings.ContainsAny(r.host, ":") || strings.HasSuffix(r.host, ".") {
			return
		}
	}
	for _, r := range tab.routes {
		for _, path := range []string{r.path, r.path + "x", r.path + "/y", "/"} {
			for _, host := range []string{r.host, "other"} {
				want := strings.Join(oracle(&tab, host, path), ",")
				if got := l.reached(host + path); got != want {
					t.Errorf("%s%s reaches %q, in Fabio %q, by\n%s", host, path, got, want, text)
				}
			}
		}
	}
}
