package fabio

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"usher/watcher"
)

// Each route goes to the same service in usher, with its parts of the traffic.
func TestRoutesMatch(t *testing.T) {
	r := Convert(commands(`
# the shop
route add web shop.test/ http://10.0.0.1:8000/
route add web Shop.Test/ http://10.0.0.2:8000/
route add web www.shop.test/ http://10.0.0.1:8000/
route add orders shop.test/orders http://10.0.1.1:80/ weight 0.9 opts "strip=/orders"
route add orders-v2 shop.test/orders http://10.0.1.2/ weight 0.1 opts "strip=/orders prepend=v2"
route add wild *.apps.test/ http://10.0.2.1:80/
route add special a.apps.test/only http://10.0.2.2:80/
route add bare bare.test http://10.0.3.1:80/ opts "host=dst"
route add any /any http://10.0.4.1:80/
route add port port.test:8080/ http://10.0.5.1:80/
route add same /same http://10.0.6.1:80/ weight 0.3 tags "x"
route add same /same http://10.0.6.1:80/ weight 0.2 tags "y"
route add gone /gone http://10.0.7.1:80/
route del gone
route add six six.test/ http://[2001:db8::1]:80/
`))
	l := load(t, t.TempDir(), r)
	for target, want := range map[string]string{
		"shop.test/":                 "10.0.0.1:8000=0.5 10.0.0.2:8000=0.5",
		"shop.test/other":            "10.0.0.1:8000=0.5 10.0.0.2:8000=0.5",
		"www.shop.test/":             "10.0.0.1:8000=1",
		"shop.test/orders/17":        "10.0.1.1:80=0.9 10.0.1.2:80=0.1",
		"x.apps.test/":               "10.0.2.1:80=1",
		"a.apps.test/only/this":      "10.0.2.2:80=1",
		"a.apps.test/else":           "10.0.2.1:80=1",
		"bare.test/x":                "10.0.3.1:80=1",
		"nowhere.test/anything":      "10.0.4.1:80=1",
		"nowhere.test/same":          "10.0.6.1:80=0.4 10.0.6.1:80=0.6",
		"nowhere.test/gone":          "",
		"six.test/":                  "[2001:db8::1]:80=1",
		"bare.test/any":              "10.0.3.1:80=1",
		"www.shop.test/orders/17":    "10.0.0.1:8000=1",
		"not.apps.test.example/none": "",
	} {
		if got := strings.Join(l.endpoints(target), " "); got != want {
			t.Errorf("%s goes to %q, want %q", target, got, want)
		}
	}
	if got := l.reached("port.test:8080/"); got != "port" {
		t.Errorf("the host with a port reaches %q", got)
	}
	if refused := l.table.Refused(); len(refused) > 0 || has(r.Notes, Refused) {
		t.Errorf("refused: %v", refused)
	}
	for _, s := range l.catalog.Services {
		want := "shop.test/orders strip=/orders prepend=/v2 weight=0.1"
		if s.Name == "orders-v2" && !slices.Equal(s.Routes, []string{want}) {
			t.Errorf("announced %q", s.Routes)
		}
	}
}

// A rule that usher refuses stays in the catalog, and the report tells where its
// requests go now.
func TestRefused(t *testing.T) {
	r := Convert(commands(`
route add web shop.test/ http://10.0.0.1:80/
route add web shop.test/admin http://10.0.0.1:80/ opts "no/such=option allow=nonsense"
route add sql :99999 tcp://10.0.0.9:3306
`))
	l := load(t, t.TempDir(), r)
	if !has(r.Notes, Refused, "web@static", "/admin", "allow") || !has(r.Notes, Refused, "sql@static", ":99999") {
		t.Errorf("notes %v", r.Notes)
	}
	if got := l.reached("shop.test/admin"); got != "web" {
		t.Fatalf("the request reaches %q: the case tests nothing", got)
	}
	if !has(r.Notes, Todo, "route shop.test/admin", "wider route shop.test/") {
		t.Errorf("nobody is warned that /admin is open: %v", r.Notes)
	}
}

// What Fabio and usher read differently is translated.
func TestOptions(t *testing.T) {
	for line, want := range map[string]string{
		`route add a /x http://h:1/ weight 0`:                            "/x",
		`route add a /x http://h:1/ weight -1`:                           "/x",
		`route add a /x http://h:1/ opts "weight=0.5 listener=internal"`: "/x",
		`route add a /x http://h:1/ opts "strip=x prepend=y"`:            "/x prepend=/y",
		`route add a /x https://h/ opts "tlsskipverify=true"`:            "/x proto=https tlsskipverify=true",
		`route add a /x http://h:1/ opts "proto=https"`:                  "/x",
		`route add a /x grpc://h:1 opts "proto=grpc"`:                    "/x proto=grpc",
		`route add a /x https://x.test/$path opts "redirect=301"`:        "/x redirect=301,https://x.test/$path",
		`route add a /${x} http://h:1/ opts "auth="`:                     "/${x}",
	} {
		l := load(t, t.TempDir(), Convert(commands(line)))
		if got := l.catalog.Services[0].Routes; len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}

func TestUnusableDestinations(t *testing.T) {
	for _, dst := range []string{
		"http:///", "http://h:0/", "http://h:70000/", "tcp://h", "h:80", "http://a..b/", "http://ü/",
	} {
		r := Convert(commands("route add a /x " + dst + "\nroute add b /y http://h:1/"))
		l := load(t, t.TempDir(), r)
		if !has(r.Notes, Todo, "kv:1", "was left out") || l.reached("h/x") != "" || l.reached("h/y") != "b" {
			t.Errorf("%s: %v", dst, r.Notes)
		}
	}
}

func TestNames(t *testing.T) {
	r := Convert(commands("route add a@b /1 http://h:1/\nroute add a-b /2 http://h:2/\n" +
		"route add a\x01b /3 http://h:3/"))
	l := load(t, t.TempDir(), r)
	for target, want := range map[string]string{"h/1": "a-b", "h/2": "a-b-2", "h/3": "a-b-3"} {
		if got := l.reached(target); got != want {
			t.Errorf("%s reaches %q, want %q", target, got, want)
		}
	}
	if !has(r.Notes, Differs, "kv:1", `"a@b"`, `"a-b"`) {
		t.Errorf("notes %v", r.Notes)
	}
}

// Fabio's other matchers become path types.
func TestMatchers(t *testing.T) {
	in := commands(`
route add web shop.test/Orders/* http://10.0.0.1:80/ weight 0.75
route add web shop.test/Orders/* http://10.0.0.2:80/
route add web shop.test/exact http://10.0.0.1:80/ opts "strip=/exact"
route add two shop.test/exact http://10.0.0.3:80/ opts "strip=/exact"
route add web shop.test/guarded* http://10.0.0.1:80/ opts "allow=nonsense"
`)
	in.Properties = ParseProperties("p", "proxy.matcher=glob", noEnv)
	r := Convert(in)
	l := load(t, t.TempDir(), r)
	for target, want := range map[string]string{
		"shop.test/Orders/17":  "10.0.0.1:80=0.75 10.0.0.2:80=0.25",
		"shop.test/orders/17":  "",
		"shop.test/exact":      "10.0.0.1:80=0.5 10.0.0.3:80=0.5",
		"shop.test/exact/more": "",
		"shop.test/guarded":    "",
	} {
		if got := strings.Join(l.endpoints(target), " "); got != want {
			t.Errorf("glob: %s goes to %q, want %q", target, got, want)
		}
	}
	if !has(r.Notes, Refused, "shop.test/guarded*", "allow") {
		t.Errorf("the guarded route went without a word: %v", r.Notes)
	}
	in.Properties = ParseProperties("p", "proxy.matcher=iprefix", noEnv)
	l = load(t, t.TempDir(), Convert(in))
	for target, want := range map[string]string{
		"shop.test/EXACT/more": "two,web", "shop.test/orders/*": "web", "shop.test/x": "",
	} {
		if got := l.reached(target); got != want {
			t.Errorf("iprefix: %s reaches %q, want %q", target, got, want)
		}
	}
}

// agent is what Consul knows: two instances of web and one of old, of each tag.
func agent() *Agent {
	of := func(name, id string, port int, tags ...string) AgentInstance {
		return AgentInstance{
			Node: "n", Address: "10.9.9.9", Datacenter: "dc1", ServiceID: id, ServiceName: name,
			ServicePort: port, ServiceTags: tags,
		}
	}
	return &Agent{Instances: []AgentInstance{
		of("web", "web1", 1, "urlprefix-shop.test/", "urlprefix-$DC.test/x weight=0", "blue"),
		of("web", "web2", 2, "urlprefix-shop.test/", "urlprefix-$DC.test/x weight=0"),
		of("old", "old1", 3, "urlprefix-shop.test/", "urlprefix-old.test/ strip=/o",
			"urlprefix-bad.test/ proto=nonsense"),
	}}
}

// withAgent converts commands beside announced services, and loads the result beside
// them.
func withAgent(t *testing.T, text string) (*Result, loaded) {
	t.Helper()
	in := commands(text)
	in.Agent = agent()
	c := &conversion{tagPrefix: DefaultTagPrefix}
	var services []*watcher.Service
	for _, name := range []string{"web", "old"} {
		var instances []*AgentInstance
		for i := range in.Agent.Instances {
			if x := &in.Agent.Instances[i]; x.ServiceName == name {
				instances = append(instances, x)
			}
		}
		services = append(services, c.announcedService(name, instances))
	}
	r := Convert(in)
	return r, load(t, t.TempDir(), r, services...)
}

func TestAnnouncedTags(t *testing.T) {
	r, l := withAgent(t, "")
	if !has(r.Notes, Differs, "web@consul urlprefix-$DC.test/x", "weight=0") {
		t.Errorf("weight=0 is not told: %v", r.Notes)
	}
	if len(l.table.Refused()) != 1 || !has(r.Notes, Refused, "old@consul urlprefix-bad.test/", "proto=nonsense") {
		t.Errorf("refused %v, notes %v", l.table.Refused(), r.Notes)
	}
	if r.Catalog != "" || len(l.config.Routes) != 0 {
		t.Errorf("there is nothing to convert, but:\n%s\n%s", r.Config, r.Catalog)
	}
}

// Commands on announced services become routes of the configuration where these can say
// it.
func TestOverrides(t *testing.T) {
	for text, c := range map[string]struct {
		target, want string
		kind         Kind
		note         string
	}{
		"route weight old shop.test/ weight 0.2": {
			"shop.test/", "10.9.9.9:1=0.4 10.9.9.9:2=0.4 10.9.9.9:3=0.2", Differs, "shares of this moment",
		},
		"route del old shop.test/": {"shop.test/", "10.9.9.9:1=0.5 10.9.9.9:2=0.5", Differs, "route shop.test/"},
		"route del web":            {"shop.test/", "10.9.9.9:3=1", Todo, "route dc1.test/x"},
		"route weight old shop.test/ weight 0.5\nroute add new shop.test/ http://10.1.1.1:80/ weight 0.5": {
			"shop.test/", "10.1.1.1:80=0.5 10.9.9.9:3=0.5", Differs, "route shop.test/",
		},
		"route add new shop.test/ http://10.1.1.1:80/": {
			"shop.test/", "10.1.1.1:80=0.25 10.9.9.9:1=0.25 10.9.9.9:2=0.25 10.9.9.9:3=0.25", Differs, "weight=0",
		},
		`route weight web shop.test/ weight 0.9 tags "blue"`: {
			"shop.test/", "10.9.9.9:1=0.333333 10.9.9.9:2=0.333333 10.9.9.9:3=0.333333", Todo, "different shares",
		},
		`route del tags "blue"`: {
			"shop.test/", "10.9.9.9:1=0.333333 10.9.9.9:2=0.333333 10.9.9.9:3=0.333333", Todo, "1 of the 2 instances",
		},
		"route del old old.test/\nroute add new old.test/ http://10.1.1.1:80/": {
			"old.test/", "10.1.1.1:80=1", Differs, "route old.test/",
		},
		"route del nobody": {"old.test/", "10.9.9.9:3=1", Dropped, "changes nothing"},
	} {
		r, l := withAgent(t, text)
		if got := strings.Join(l.endpoints(c.target), " "); got != c.want {
			t.Errorf("%s: %s goes to %q, want %q\n%s", text, c.target, got, c.want, r.Config)
		}
		if !has(r.Notes, c.kind, c.note) {
			t.Errorf("%s: no note %q: %v", text, c.note, r.Notes)
		}
	}
}

// Without the agent nobody knows what a del means: that is told.
func TestUnknownServices(t *testing.T) {
	r := Convert(commands("route del web\nroute weight web /x weight 0.5"))
	if !has(r.Notes, Todo, "kv:1", "--consul") || !has(r.Notes, Todo, "kv:2", "--consul") {
		t.Errorf("notes %v", r.Notes)
	}
	load(t, t.TempDir(), r)
}

func TestParseKV(t *testing.T) {
	const export = `[
		{"key": "fabio/config/b", "flags": 0, "value": "cm91dGUgZGVsIGI="},
		{"key": "fabio/config/a", "flags": 0, "value": "cm91dGUgZGVsIGEK"},
		{"Key": "fabio/noroute.html", "Value": "PGh0bWw+"},
		{"key": "fabio/config", "value": null}]`
	kv, err := ParseKV("dump", []byte(export), "/fabio/config")
	if err != nil {
		t.Fatal(err)
	}
	want := []Text{{"kv fabio/config", ""}, {"kv fabio/config/a", "route del a"}, {"kv fabio/config/b", "route del b"}}
	if !slices.Equal(kv.Texts, want) || !slices.Equal(kv.Ignored, []string{"fabio/noroute.html"}) {
		t.Errorf("got %+v", kv)
	}
	if !has(Convert(Input{KV: kv}).Notes, Dropped, "noroute.html") {
		t.Error("the ignored key is not told")
	}
	kv, err = ParseKV("dump", []byte("route del a"), "x")
	if err != nil || !slices.Equal(kv.Texts, []Text{{"dump", "route del a"}}) {
		t.Errorf("plain text: %+v, %v", kv, err)
	}
	for _, bad := range []string{`[{]`, `[{"key": 1}]`, `[{"key":"a","value":"%%"}]`} {
		if _, err := ParseKV("dump", []byte(bad), "x"); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestReport(t *testing.T) {
	list := []Note{{Taken, "c", "three"}, {Todo, "a", "one"}, {Taken, "d", "four"}}
	var b strings.Builder
	WriteText(&b, list)
	if b.String() != "To do by hand:\n  a: one\nTaken over:\n  c: three\n  d: four\n" {
		t.Errorf("got %s", b.String())
	}
	b.Reset()
	if err := WriteJSON(&b, list); err != nil {
		t.Fatal(err)
	}
	var back struct{ Notes []Note }
	if err := json.Unmarshal([]byte(b.String()), &back); err != nil || !slices.Equal(back.Notes, list) {
		t.Errorf("got %+v, %v", back, err)
	}
}
