package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"usher/cmd/usher/internal/api"
)

// generations asks u for the tables it remembers.
func (u *usher) generations() (list api.Generations) {
	u.t.Helper()
	_, body := get(u.t, u.admin+"/api/v1/generations", "")
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		u.t.Fatalf("%v: %s", err, body)
	}
	return list
}

// awaitGeneration waits for a generation one of whose causes has all the parts, and
// returns its number.
func (u *usher) awaitGeneration(parts ...string) (number uint64) {
	u.t.Helper()
	eventually(u.t, patience, fmt.Sprintf("a generation because of %q", parts), func() bool {
		for _, g := range u.generations().Generations {
			for _, c := range g.Causes {
				text, all := c.Kind+" "+c.Service+" "+c.Detail, true
				for _, p := range parts {
					all = all && strings.Contains(text, p)
				}
				if all {
					number = g.Number
					return true
				}
			}
		}
		return false
	})
	return number
}

// What changed, when, and why is one command; two generations can be compared.
func TestGenerations(t *testing.T) {
	s := newStage(t, 2, "")
	first := s.u.generations().Current
	setCheck(t, s.agent, s.shop[0], consulapi.HealthCritical)
	sick := s.u.awaitGeneration("check", "shop", s.shop[0].name, "is critical")
	s.u.write(withConsul(s.agent.Addr(), "routes: [{name: more, match: {hosts: [more.test]}, service: shop}]\n"))
	reload := s.u.awaitGeneration("reload", "configuration")
	if sick <= first || reload <= sick {
		t.Errorf("generations are %d, %d, %d", first, sick, reload)
	}
	at := time.Now().Format("15:04")
	out, _ := s.u.ask(0, "generations", "--at", at)
	mustContain(t, "what changed now", out, fmt.Sprintf("generation %d", sick),
		"because of check shop@consul: ", "~ instance shop@consul/", "status: passing → critical",
		fmt.Sprintf("generation %d", reload), "because of reload: configuration ", "+ route more")
	out, _ = s.u.ask(0, "generations", "-n", "2")
	mustContain(t, "the list", out, "now "+strconv.FormatUint(reload, 10), "1 route added")
	if strings.Contains(out, "\n"+strconv.FormatUint(first, 10)+" ") {
		t.Errorf("more than two are listed:\n%s", out)
	}
	out, _ = s.u.ask(0, "generations", "show", strconv.FormatUint(sick, 10))
	mustContain(t, "one", out, "1 instance changed", "is critical (was passing)")
	for _, args := range [][]string{{"diff"}, {"generations", "diff"}} {
		out, _ = s.u.ask(0, append(args, strconv.FormatUint(first, 10), strconv.FormatUint(reload, 10))...)
		mustContain(t, "the difference", out, "+ route more", "status: passing → critical")
	}
	back, _ := s.u.ask(0, "diff", strconv.FormatUint(reload, 10), strconv.FormatUint(first, 10), "--json")
	mustContain(t, "the way back", back, `"kind": "removed"`, `"from": "critical"`)
	for _, args := range [][]string{{"diff", "1", "99999"}, {"pin", "99999"}, {"generations", "show", "x"}} {
		if _, stderr := s.u.ask(1, args...); !strings.Contains(stderr, "99999") && args[2] != "x" {
			t.Errorf("%q is refused with %q", args, stderr)
		}
	}
	var events []api.Event
	_, body := get(t, s.u.admin+"/api/v1/events", "")
	if json.Unmarshal([]byte(body), &events) == nil && !strings.Contains(body, `"kind":"generation"`) {
		t.Errorf("no event tells of a generation: %s", body)
	}
}

// tagged registers b as an instance of a service with other tags.
func (s *stage) tagged(service string, b *backend, tags ...string) {
	s.agent.Register(consulapi.AgentServiceRegistration{
		ID: b.name, Name: service, Address: "127.0.0.1", Port: b.port, Tags: tags,
	})
}

// A pin holds the routes that a team, an override and the configuration took back, while
// instances come and go; unpin follows all of them again.
func TestPin(t *testing.T) {
	s := newStage(t, 0, "routes: [{name: own, match: {hosts: [own.test]}, service: shop}]\n")
	one, two := newBackend(t, "one", nil), newBackend(t, "two", nil)
	s.tagged("shop", one, "urlprefix-shop.test/")
	s.u.servedBy("shop.test", "one")
	s.u.servedBy("own.test", "one")
	good := s.u.generations().Current
	number := strconv.FormatUint(good, 10)

	s.tagged("shop", one, "urlprefix-wrong.test/")
	s.u.waitStatus("shop.test", 404)
	s.u.write(withConsul(s.agent.Addr(), "routes: [{name: own, match: {hosts: [oops.test]}, service: shop}]\n"))
	s.u.servedBy("oops.test", "one")

	out, _ := s.u.ask(0, "pin", number)
	mustContain(t, "pin", out, "the rules of generation "+number+" are pinned")
	for _, host := range []string{"shop.test", "own.test"} {
		s.u.servedBy(host, "one")
	}
	for _, host := range []string{"wrong.test", "oops.test"} {
		if code, _ := s.u.status(host); code != 404 {
			t.Errorf("%s answers %d under the pin", host, code)
		}
	}
	if list := s.u.generations(); list.Pinned == nil || *list.Pinned != good {
		t.Errorf("pinned is %v", list.Pinned)
	}

	// Instances follow the registry, whatever they announce; services that come have no route.
	s.tagged("shop", two)
	s.u.servedBy("shop.test", "one", "two")
	s.tagged("new", newBackend(t, "three", nil), "urlprefix-new.test/")
	s.u.awaitGeneration("registry", "new", "registered")
	s.agent.Deregister("one")
	s.u.servedBy("shop.test", "two")
	if code, _ := s.u.status("new.test"); code != 404 {
		t.Errorf("a service that was not known answers %d", code)
	}

	// A reload waits, and says so.
	s.u.write(withConsul(s.agent.Addr(), "routes: [{name: own, match: {hosts: [late.test]}, service: shop}]\n"))
	s.u.waitLog("take effect when the pin is over")
	s.u.servedBy("own.test", "two")
	if code, _ := s.u.status("late.test"); code != 404 {
		t.Errorf("a reload under the pin answers %d", code)
	}
	out, _ = s.u.ask(0, "plan", "--config", s.u.conf)
	mustContain(t, "plan under a pin", out, "Nothing changes.", "the rules of generation "+number+" are pinned")

	out, _ = s.u.ask(0, "unpin")
	mustContain(t, "unpin", out, "nothing is pinned")
	s.u.servedBy("late.test", "two")
	s.u.servedBy("new.test", "three")
	for _, host := range []string{"shop.test", "own.test"} {
		s.u.waitStatus(host, 404)
	}
	s.u.ask(0, "unpin") // there is none: nothing happens
	s.u.awaitGeneration("unpin", number)
}

// A service that gave up its routes is no longer watched. A pin has it watched again.
func TestPinOfWhatIsNoLongerWatched(t *testing.T) {
	s := newStage(t, 1, "")
	good := s.u.generations().Current
	s.tagged("shop", s.shop[0])
	s.u.waitStatus("shop.test", 404)
	eventually(t, patience, "the service is not watched", func() bool {
		code, _ := get(t, s.u.admin+"/api/v1/services/shop", "")
		return code == http.StatusNotFound
	})
	s.u.ask(0, "pin", strconv.FormatUint(good, 10))
	s.u.servedBy("shop.test", names(s.shop)...)
	s.u.ask(0, "unpin")
	s.u.waitStatus("shop.test", 404)
}
