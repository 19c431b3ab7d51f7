package consul

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// defaults are the settings of services in an empty configuration.
func defaults(t testing.TB) config.Policy {
	t.Helper()
	cfg, err := config.Load("", config.Options{Consul: "127.0.0.1:8500", Listen: "127.0.0.1:8080"})
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Defaults.Policy
}

// withStore is the configuration of a registry that reads the key-value store.
func withStore(addr, token string) config.Consul {
	c := conf(addr)
	c.KVPrefix, c.Token, c.MaxStale = "usher/", token, 30*time.Second
	return c
}

// keepStore runs a Registry with the defaults of an empty configuration.
func keepStore(t testing.TB, c config.Consul) *journal {
	t.Helper()
	policy := defaults(t)
	return keepJournal(t, c, func(r *Registry) { r.Options.Defaults = policy })
}

// overrides are the last that were sent, nil when there were none.
func (j *journal) overrides() (o *watcher.Overrides) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, u := range j.updates {
		if u.Overrides != nil {
			o = u.Overrides
		}
	}
	return o
}

// held writes what overrides hold: routes as name>service, services as name=timeout,
// refused keys with an exclamation mark.
func held(o *watcher.Overrides) (out []string) {
	if o == nil {
		return nil
	}
	for _, r := range o.Routes {
		out = append(out, r.Name+">"+r.Service)
	}
	for _, name := range sortedKeys(o.Services) {
		out = append(out, name+"="+o.Services[name].Timeout.String())
	}
	for _, r := range o.Refused {
		out = append(out, "!"+r.Key)
	}
	return out
}

// awaitStore waits until the last overrides hold this.
func (j *journal) awaitStore(want ...string) {
	j.t.Helper()
	consultest.Eventually(j.t, fmt.Sprintf("the store holds %q", want), func() bool {
		return slices.Equal(held(j.overrides()), want)
	})
}

// storeStays fails if the last overrides do not hold this.
func (j *journal) storeStays(want ...string) {
	j.t.Helper()
	if got := held(j.overrides()); !slices.Equal(got, want) {
		j.t.Errorf("the store holds %q, want %q", got, want)
	}
}

// awaitAnother waits until something else of the agent was seen, after which the store
// has had its time as well.
func (j *journal) awaitAnother(a *consultest.Agent, service string) {
	j.t.Helper()
	a.Register(registration(service, "urlprefix-/"+service))
	j.find(service+" is there", 0, func(u *watcher.Update) bool {
		return u.Service == service && len(u.Instances) > 0
	})
}

// TestStore: routes and settings come, change and go with their keys.
func TestStore(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t)
	a.Put("usher/routes/before", "service: web")
	a.Put("elsewhere/routes/x", "service: web")
	j := keepStore(t, withStore(a.Addr(), ""))
	j.awaitSynced()
	j.awaitStore("before>web")
	if o := j.overrides(); o.Routes[0].Pos.File != "usher/routes/before" {
		t.Errorf("a route of %+v", o.Routes[0].Pos)
	}

	a.Put("usher/routes/after", "{service: api, match: {path: /api}}")
	j.awaitStore("after>api", "before>web")
	a.Put("usher/services/api", "timeout: 3s")
	j.awaitStore("after>api", "before>web", "api=3s")
	if got := j.overrides().Services["api"].ConnectTimeout; got != defaults(t).ConnectTimeout || got == 0 {
		t.Errorf("a setting that was left out is %v", got)
	}
	a.Put("usher/routes/after", "{service: other, match: {path: /api}}")
	j.awaitStore("after>other", "before>web", "api=3s")

	// A key that cannot be used refuses itself alone and stays as it was.
	a.Put("usher/routes/after", "{service: [}")
	j.awaitStore("after>other", "before>web", "api=3s", "!usher/routes/after")
	a.Put("usher/services/api", "timeout: never")
	j.awaitStore("after>other", "before>web", "api=3s", "!usher/routes/after", "!usher/services/api")
	a.Put("usher/routes/never", "nonsense: 1")
	j.awaitStore("after>other", "before>web", "api=3s",
		"!usher/routes/after", "!usher/routes/never", "!usher/services/api")
	for _, r := range j.overrides().Refused {
		if !strings.Contains(r.Reason, r.Key) {
			t.Errorf("the reason does not tell where: %q", r.Reason)
		}
	}
	a.Delete("usher/routes/never")
	a.Put("usher/services/api", "timeout: 4s")
	j.awaitStore("after>other", "before>web", "api=4s", "!usher/routes/after")
	// And its last good version goes with it.
	a.Delete("usher/routes/after")
	j.awaitStore("before>web", "api=4s")
	a.Put("usher/routes/after", "{service: [}")
	j.awaitStore("before>web", "api=4s", "!usher/routes/after")

	// The index of the list falls with a key; what an operator deletes is gone.
	for _, key := range []string{"usher/routes/after", "usher/services/api", "usher/routes/before"} {
		a.Delete(key)
	}
	j.awaitStore()
	a.Put("usher/routes/again", "service: web")
	j.awaitStore("again>web")
}

// TestStoreFolders: the folders that Consul's pages make, and keys that mean nothing
// here, are no mistakes.
func TestStoreFolders(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t)
	for _, key := range []string{
		"usher/", "usher/routes/", "usher/services/", "usher/routes/team/", "usher/other", "usher/other/",
		"usher/routes",
	} {
		a.Put(key, "")
	}
	a.Put("usher/notes/today", "{[")
	a.Put("usher/routes/team/web", "service: web")
	a.Put("usher/services/web", "")
	j := keepStore(t, withStore(a.Addr(), ""))
	j.awaitStore("team/web>web", "web="+defaults(t).Timeout.String())
}

// TestStoreSize: Consul's largest value is taken.
func TestStoreSize(t *testing.T) {
	t.Parallel()
	const largest = 512 << 10
	a := consultest.Start(t)
	text := "service: web # "
	a.Put("usher/routes/large", text+strings.Repeat("x", largest-len(text)))
	j := keepStore(t, withStore(a.Addr(), ""))
	j.awaitStore("large>web")
	a.Put("usher/routes/small", "service: api")
	j.awaitStore("large>web", "small>api")
}

// TestStoreIsLost: an agent that has lost its state says that the store is empty. That
// is not believed until some key appears.
func TestStoreIsLost(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t)
	a.Put("usher/routes/one", "service: web")
	a.Put("usher/routes/two", "{service: api, match: {path: /api}}")
	j := keepStore(t, withStore(a.Addr(), ""))
	j.awaitStore("one>web", "two>api")
	a.RestartEmpty()
	consultest.Eventually(t, "the doubt is logged", func() bool { return j.log.count("is said to be empty") == 1 })
	j.storeStays("one>web", "two>api")
	a.Put("elsewhere/x", "wakes nobody")
	j.awaitAnother(a, "web")
	j.storeStays("one>web", "two>api")
	a.Put("usher/routes/two", "{service: api, match: {path: /api}}")
	j.awaitStore("two>api")
	if n := j.log.count("is said to be empty"); n != 1 {
		t.Errorf("the doubt is logged %d times", n)
	}
}

// TestStoreRestarts: a store that is there after a restart is as it was, or changed.
func TestStoreRestarts(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t)
	a.Put("usher/routes/one", "service: web")
	j := keepStore(t, withStore(a.Addr(), ""))
	j.awaitStore("one>web")
	a.Kill()
	j.find("the failure", 0, func(u *watcher.Update) bool { return u.Report != nil && u.Report.Err != nil })
	a.Restart()
	a.Put("usher/routes/two", "{service: api, match: {path: /api}}")
	j.awaitStore("one>web", "two>api")
	a.Delete("usher/routes/one")
	j.awaitStore("two>api")
	if n := j.log.count("cannot be read"); n != 1 {
		t.Errorf("one outage is logged %d times", n)
	}
}

// TestStoreRights: keys that a token may not read any more are not gone.
func TestStoreRights(t *testing.T) {
	t.Parallel()
	const catalog = `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" } `
	for name, rules := range map[string]string{
		"all keys":  catalog,
		"some keys": catalog + `key_prefix "usher/routes/o" { policy = "read" }`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := consultest.Start(t, consultest.ACL())
			a.Put("usher/routes/one", "service: web")
			a.Put("usher/routes/two", "{service: api, match: {path: /api}}")
			c := withStore(look(t, a).addr, a.NewToken(leastRules))
			j := keepStore(t, c)
			j.awaitStore("one>web", "two>api")
			a.SetRules(c.Token, rules)
			consultest.Eventually(t, "it is logged", func() bool { return j.log.count("has lost the right") == 1 })
			a.Put("usher/routes/one", "service: other") // which wakes the query
			if name == "some keys" {
				j.awaitStore("one>other", "two>api")
			}
			j.awaitAnother(a, "web")
			if name == "all keys" {
				j.storeStays("one>web", "two>api")
			}
			a.SetRules(c.Token, leastRules)
			j.awaitStore("one>other", "two>api")
			a.Delete("usher/routes/two")
			j.awaitStore("one>other")
		})
	}
}

// TestStoreNeverAllowed: a token that never saw everything is believed as far as it
// sees, and the missing right is told once.
func TestStoreNeverAllowed(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.ACL())
	a.Put("usher/routes/one", "service: web")
	a.Put("usher/routes/two", "{service: api, match: {path: /api}}")
	a.Put("usher/routes/other", "{service: other, match: {path: /other}}")
	j := keepStore(t, withStore(a.Addr(), a.NewToken(`service_prefix "" { policy = "read" }
		node_prefix "" { policy = "read" } key_prefix "usher/routes/o" { policy = "read" }`)))
	j.awaitSynced()
	j.awaitStore("one>web", "other>other")
	a.Delete("usher/routes/one")
	j.awaitStore("other>other")
	if n := j.log.count(`missing="key_prefix \"usher/\" { policy = \"read\" }"`); n != 1 {
		t.Errorf("the missing right is told %d times", n)
	}
}

const storePath = "/v1/kv/usher/"

// pairs are keys and values as the API lists them.
func pairs(t *testing.T, of ...string) string {
	t.Helper()
	list := []map[string]string{}
	for i := 0; i < len(of); i += 2 {
		value := base64.StdEncoding.EncodeToString([]byte(of[i+1]))
		list = append(list, map[string]string{"Key": of[i], "Value": value})
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestStoreAnswers is for what a real agent does rarely.
func TestStoreAnswers(t *testing.T) {
	t.Parallel()
	empty := answer{status: 404, index: 1}
	for name, test := range map[string]struct {
		then []answer
		want []string
	}{
		"empty, and the index rises": {[]answer{{status: 404, index: 20}}, nil},
		"empty, and the index falls": {[]answer{empty}, []string{"one>web"}},
		"empty after an error":       {[]answer{{status: 500}, {status: 404, index: 20}}, []string{"one>web"}},
		"denied":                     {[]answer{{status: 403}}, []string{"one>web"}},
		"no JSON":                    {[]answer{{index: 20, body: "<html>"}}, []string{"one>web"}},
		"an index that falls on a delete": {
			[]answer{{index: 5, body: pairs(t, "usher/routes/two", "service: api")}}, []string{"two>api"},
		},
		"a key appears after the doubt": {
			[]answer{empty, {status: 404, index: 20}, {index: 30, body: pairs(t, "usher/x", "")}}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, map[string]answer{
				leader:    {body: `"127.0.0.1:8300"`},
				storePath: {index: 10, body: pairs(t, "usher/routes/one", "service: web")},
			})
			c := withStore(f.addr, "")
			c.MaxStale = 0
			j := keepStore(t, c)
			j.awaitStore("one>web")
			failed := false
			for _, a := range test.then {
				// The query that waits is answered, and another one follows. After an error none
				// waits, and after an index that fell it is asked for again.
				more := 1
				if failed || a.index < 10 {
					more = 2
				}
				failed = a.index == 0
				asked := f.count(storePath)
				f.set(storePath, a)
				consultest.Eventually(t, "it is asked again", func() bool { return f.count(storePath) >= asked+more })
			}
			if !slices.Equal(test.want, []string{"one>web"}) {
				j.awaitStore(test.want...)
			}
			j.storeStays(test.want...)
		})
	}
}

// TestStoreIsEmpty: an empty store ends the wait for it, and so does one that cannot be
// read.
func TestStoreIsEmpty(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]answer{
		"empty":      {status: 404, index: 1},
		"unreadable": {status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, map[string]answer{leader: {body: `"127.0.0.1:8300"`}, storePath: {hang: true}})
			j := keepStore(t, withStore(f.addr, ""))
			j.find("the leader", 0, func(u *watcher.Update) bool { return u.Report != nil && u.Report.Contact != "" })
			consultest.Eventually(t, "both lists and the store are asked", func() bool {
				return f.count(listPath) > 1 && f.count(metaPath) > 1 && f.count(storePath) > 0
			})
			j.mu.Lock()
			for _, u := range j.updates {
				if u.Report != nil && (u.Report.Synced || u.Report.Answered) {
					t.Error("synced before the store answered")
				}
			}
			j.mu.Unlock()
			f.set(storePath, a)
			j.awaitSynced()
			j.storeStays()
		})
	}
}

// newStore is a store that asks nobody.
func newStore(policy config.Policy) *store {
	return &store{
		keys: keys{
			coordinator: &coordinator{Registry: &Registry{Options: Options{Defaults: policy}}},
			values:      map[string][]byte{},
		},
		routes: map[string]config.Route{}, services: map[string]config.Service{},
	}
}

// FuzzStoreDecode: no document takes anything from another key, or from its own last
// good version, and whatever is not refused can be read again.
func FuzzStoreDecode(f *testing.F) {
	for _, key := range []string{"routes/a", "services/a", "routes/", "x", "routes/a/"} {
		for _, text := range []string{
			"", "service: web", "{service: web, match: {path: /a, hosts: ['*.b']}}", "timeout: 3s", "{[", "a: &a [*a]",
			"split: [{service: a, weight: 9}, {service: b}]", "service: ${HOME}", "retry: {attempts: -1}", "\xff\xfe",
		} {
			f.Add(key, []byte(text))
		}
	}
	policy := defaults(f)
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		s := newStore(policy)
		s.values["routes/good"] = []byte("service: good")
		if o := s.overrides("usher/"); len(o.Routes) != 1 || len(o.Refused) != 0 {
			t.Fatalf("before: %+v", o)
		}
		if key == "routes/good" {
			return
		}
		s.values[key] = value
		first := s.overrides("usher/")
		if !slices.ContainsFunc(first.Routes, func(r config.Route) bool { return r.Name == "good" }) {
			t.Fatalf("%q took the other route away: %+v", key, first)
		}
		if n := len(first.Routes) + len(first.Services) + len(first.Refused); n > 2 {
			t.Fatalf("one key makes %+v", first)
		}
		if again := s.overrides("usher/"); !reflect.DeepEqual(again, first) {
			t.Fatalf("read again it is %+v, was %+v", again, first)
		}
		s.values[key] = []byte("{[")
		refused := s.overrides("usher/")
		if len(refused.Routes) != len(first.Routes) || len(refused.Services) != len(first.Services) {
			t.Fatalf("the last good version is gone: %+v, was %+v", refused, first)
		}
		delete(s.values, key)
		if last := s.overrides("usher/"); len(last.Routes) != 1 || len(last.Services) != 0 || len(last.Refused) != 0 {
			t.Fatalf("without the key: %+v", last)
		}
	})
}

// TestStoreDeny: with the key-list policy the whole list is denied, which is an error
// and takes nothing away.
func TestStoreDeny(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.ACL(), consultest.Config(`acl { enable_key_list_policy = true }`))
	a.Put("usher/routes/one", "service: web")
	c := withStore(look(t, a).addr, a.NewToken(strings.Replace(leastRules, `"usher/" { policy = "read" }`,
		`"usher/" { policy = "list" }`, 1)))
	j := keepStore(t, c)
	j.awaitStore("one>web")
	a.SetRules(c.Token, leastRules)
	u := j.find("the failure", 0, func(u *watcher.Update) bool {
		return u.Report != nil && u.Report.Reason == "http_403"
	})
	var status api.StatusError
	if !errors.As(u.Report.Err, &status) || !u.Report.Partial {
		t.Errorf("got %+v", u.Report)
	}
	j.storeStays("one>web")
}
