package watcher_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"usher/watcher"
)

// held is a scene in which three of four instances are.
func held(acts ...act) []act {
	return append([]act{
		says("web 1 2 3 4", "api 1 2"), after(time.Minute), doubtfully("web 1"),
		shows("api 1 2", "web 1 !2 !3 !4"),
	}, acts...)
}

// releases speaks an operator's word.
func releases(service string, want int) act {
	return func(s *scene) {
		s.t.Helper()
		if n := s.Release(service); n != want {
			s.t.Errorf("%d released, want %d", n, want)
		}
	}
}

// dies says that an instance does not answer probes.
func dies(registry, service, id string) act {
	return func(s *scene) { s.ReleaseInstance(watcher.Key{Registry: registry, Service: service}, id) }
}

// stays checks that there is no new catalog.
func stays() act { return func(s *scene) { s.t.Helper(); s.wantNothing() } }

// TestHoldEnds: by evidence or by an operator's word, and by nothing else.
func TestHoldEnds(t *testing.T) {
	for name, acts := range map[string][]act{
		"all listed again":       {says("web 1 2 3 4"), shows("api 1 2", "web 1 2 3 4")},
		"one listed again":       {says("web 1 3"), shows("api 1 2", "web 1 !2 3 !4")},
		"listed again elsewhere": {says("web 1 2=other:2"), shows("api 1 2", "web 1 2 !3 !4")},
		"listed again, but critical": {
			says("web 1 2~critical 3~maintenance"), shows("api 1 2", "web 1 2 3 !4"),
		},
		"dead": {
			dies("r", "web", "3"), shows("api 1 2", "web 1 !2 !4"), dies("r", "web", "3"), stays(),
			says("web 1"), stays(), // it does not come back
		},
		"dead, but listed":          {dies("r", "web", "1"), stays()},
		"dead, of another service":  {dies("r", "api", "2"), stays()},
		"dead, of no service":       {dies("r", "no", "2"), stays()},
		"dead, of another registry": {dies("x", "web", "2"), stays()},
		"all dead": {
			dies("r", "web", "2"), dies("r", "web", "3"), dies("r", "web", "4"), shows("api 1 2", "web 1"),
		},
		"an operator's word": {
			releases("web", 3), shows("api 1 2", "web 1"), releases("web", 0), stays(),
		},
		"an operator's word, with registry": {releases("web@r", 3), shows("api 1 2", "web 1")},
		"an operator's word, elsewhere":     {releases("web@x", 0), stays()},
		"an operator's word, unknown":       {releases("no", 0), releases("", 0), releases("@r", 0), stays()},
		"the operator is not contradicted": {
			releases("web", 3), reports(), doubtfully("web 1"), shows("api 1 2", "web 1"),
		},
		"the address taken by an instance of the service": {
			says("web 1 9=web:2"), shows("api 1 2", "web 1 !3 !4 9"),
		},
		"the address taken by another service": {
			says("api 1 2 9=web:3"), shows("api 1 2 9", "web 1 !2 !4"),
		},
		"the address taken by a new service": {
			says("new 9=web:3"), shows("api 1 2", "new 9", "web 1 !2 !4"),
		},
		"the address taken by an instance that moves": {
			says("api 1 2=web:4"), shows("api 1 2", "web 1 !2 !3"),
		},
		"time": {
			after(24 * time.Hour), stays(), says("web 1"), stays(), reports(), stays(), syncs(),
			shows("api 1 2", "web 1 !2 !3 !4"), holdIs("web", whyAnswer, 2, 24*time.Hour),
		},
		"trustworthy answers that list it no more": {
			after(time.Hour), says("web 1", "web 1"), shows("api 1 2", "web 1 !2 !3 !4"),
		},
		"excused": {excusing("web 1", "2", "3"), shows("api 1 2", "web 1 !4")},
		"a new run": {
			fails(), after(time.Hour), stays(), says("api 1 2", "web 1"), syncs(), shows("api 1 2", "web 1 !2 !3 !4"),
		},
		"a new run that does not find the service": {
			fails(), after(time.Hour), says("api 1 2"), syncs(), shows("api 1 2", "web !2 !3 !4"),
		},
		"the source is removed": {
			func(s *scene) {
				s.Apply(nil, nil)
				if c := s.catalog(); len(c.Services()) > 0 {
					s.t.Errorf("there is %q", picture(c))
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, guardConf(), held(acts...)...)
		})
	}
}

// TestHoldGoesOn: what else happens to a service of which instances are held.
func TestHoldGoesOn(t *testing.T) {
	for name, acts := range map[string][]act{
		"the listed one changes": {
			says("web 1=moved:1"), shows("api 1 2", "web 1 !2 !3 !4"),
			says("web 1=moved:1~critical"), shows("api 1 2", "web 1 !2 !3 !4"), holdIs("web", whyAnswer, 2, 0),
		},
		"others come": {says("web 1 5 6 7"), shows("api 1 2", "web 1 !2 !3 !4 5 6 7")},
		"the last one goes, plausibly": {
			after(time.Minute), says("web"), shows("api 1 2", "web !2 !3 !4"),
		},
		"the last one goes, in doubt": {
			after(time.Minute), doubtfully("web"), shows("api 1 2", "web !1 !2 !3 !4"),
		},
		"a second loss": {
			says("web 1 5 6 7"), after(time.Minute), doubtfully("web 1"), shows("api 1 2", "web 1 !2 !3 !4 !5 !6 !7"),
		},
		"a second loss, before a report": {
			says("web 1 5 6 7"), after(time.Minute), says("web 1"), shows("api 1 2", "web 1 !2 !3 !4"),
			reports(), shows("api 1 2", "web 1 !2 !3 !4 !5 !6 !7"),
		},
		"a second loss, plausible": {
			says("web 1 5 6 7"), after(time.Minute), says("web 1"), shows("api 1 2", "web 1 !2 !3 !4"),
		},
		"a sync":               {syncs(), syncs(), shows("api 1 2", "web 1 !2 !3 !4")},
		"another service goes": {says("api"), shows("web 1 !2 !3 !4")},
	} {
		t.Run(name, func(t *testing.T) { play(t, guardConf(), held(acts...)...) })
	}
}

// TestHoldAndConfiguration: a changed configuration is no evidence, another registry is.
func TestHoldAndConfiguration(t *testing.T) {
	same := func(*watcher.Source) {}
	elsewhere := func(src *watcher.Source) { src.Identity = "elsewhere" }
	for name, acts := range map[string][]act{
		"the same": {
			func(s *scene) { s.Apply([]watcher.Source{s.conf}, []string{"web"}) }, stays(),
			says("web 1"), syncs(), shows("api 1 2", "web 1 !2 !3 !4"),
		},
		"changed": {
			reconfigured(same), stays(), says("api 1 2", "web 1"), shows("api 1 2", "web 1 !2 !3 !4"),
			syncs(), shows("api 1 2", "web 1 !2 !3 !4"), releases("web", 3), shows("api 1 2", "web 1"),
		},
		"changed; the service is gone": {
			reconfigured(same), says("api 1 2"), syncs(), shows("api 1 2", "web !2 !3 !4"),
			says("web 1 2 3"), shows("api 1 2", "web 1 2 3 !4"),
		},
		"changed, unguarded": {
			reconfigured(func(src *watcher.Source) { src.Guard = nil }), stays(),
			says("api 1 2", "web 1"), syncs(), shows("api 1 2", "web 1"),
		},
		"another registry": {
			reconfigured(elsewhere), stays(), says("web 1"), shows("api 1 2", "web 1"), syncs(), shows("web 1"),
		},
		"another registry; the service is not there": {
			reconfigured(elsewhere), says("api 1 2"), syncs(), shows("api 1 2"),
		},
		"another registry, changed again before it answered": {
			reconfigured(elsewhere), reconfigured(same), says("web 1"), syncs(), shows("web 1"),
		},
		"removed and back": {
			func(s *scene) { s.Apply(nil, nil) }, reconfigured(same), says("web 1"), shows("web 1"),
		},
	} {
		t.Run(name, func(t *testing.T) { play(t, guardConf(), held(acts...)...) })
	}
}

// TestReconfiguredLosses: what another configuration of the source does not list is
// believed, as long as nothing speaks against it.
func TestReconfiguredLosses(t *testing.T) {
	same := reconfigured(func(*watcher.Source) {})
	elsewhere := reconfigured(func(src *watcher.Source) { src.Identity = "elsewhere" })
	for name, acts := range map[string][]act{
		"plausible": {same, says("a 1", "b 1"), syncs(), shows("a 1", "b 1")},
		"another registry": {
			elsewhere, doubtfully("a 1"), says("b 1"), syncs(), shows("a 1", "b 1"),
		},
		"in doubt": {
			same, doubtfully("a 1"), says("b 1 2 3 4", "c 1 2 3 4"), syncs(),
			shows("a 1 !2 !3 !4", "b 1 2 3 4", "c 1 2 3 4"),
		},
		"in doubt; nothing is found": {
			same, reports(), syncs(), shows("a !1 !2 !3 !4", "b !1 !2 !3 !4", "c !1 !2 !3 !4"),
		},
		"the second answer": {
			same, says("a 1 2 3 4", "b 1 2 3 4", "c 1 2 3 4"), says("a", "b"), syncs(),
			shows("a !1 !2 !3 !4", "b !1 !2 !3 !4", "c 1 2 3 4"),
		},
		"a later run": {
			same, says("a 1 2 3 4", "b 1 2 3 4", "c 1 2 3 4"), syncs(), fails(), after(time.Second), syncs(),
			shows("a !1 !2 !3 !4", "b !1 !2 !3 !4", "c !1 !2 !3 !4"),
		},
		"after the sync": {
			same, says("a 1 2 3 4", "b 1 2 3 4", "c 1 2 3 4"), syncs(), says("a", "b"),
			shows("a !1 !2 !3 !4", "b !1 !2 !3 !4", "c 1 2 3 4"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, guardConf(), append([]act{says("a 1 2 3 4", "b 1 2 3 4", "c 1 2 3 4"), syncs()}, acts...)...)
		})
	}
}

// TestServices: what is told of each service's freshness.
func TestServices(t *testing.T) {
	tells := func(want ...string) act {
		return func(s *scene) {
			s.t.Helper()
			var got []string
			for _, st := range s.Services() {
				line := fmt.Sprintf("%s %v ago: %d listed, %d held of %d",
					st.Key, time.Since(st.Confirmed), st.Listed, st.Held, len(st.Instances))
				if st.Hold != nil {
					line += ", " + st.Hold.Reason
				}
				got = append(got, line)
			}
			if !slices.Equal(got, want) {
				s.t.Errorf("got %q, want %q", got, want)
			}
		}
	}
	play(t, guardConf(),
		tells(), says("web 1 2 3 4", "api 1"),
		tells("api@r 0s ago: 1 listed, 0 held of 1", "web@r 0s ago: 4 listed, 0 held of 4"),
		after(time.Minute), doubtfully("web 1"),
		tells("api@r 1m0s ago: 1 listed, 0 held of 1", "web@r 0s ago: 1 listed, 3 held of 4, "+whyAnswer),
		after(time.Minute), releases("web", 3), says("api"), // a release is no answer of the registry
		tells("web@r 1m0s ago: 1 listed, 0 held of 1"),
		after(time.Second), reports(), // what was gone already is as old as that answer
		tells("api@r 1s ago: 0 listed, 1 held of 1, "+whyRegistry, "web@r 1m1s ago: 1 listed, 0 held of 1"))
}

// TestDoubtInStatus: the status says that answers are in doubt, for as long.
func TestDoubtInStatus(t *testing.T) {
	is := func(want string) act {
		return func(s *scene) {
			s.t.Helper()
			if got := s.Statuses()[0].String(); got != want {
				s.t.Errorf("got %q, want %q", got, want)
			}
		}
	}
	play(t, guardConf(),
		says("web 1 2 3 4"), syncs(), doubtfully("web 1"),
		is("r: 0 services, 1 watched, holding 3 instances"),
		reports(), is("r: 0 services, 1 watched, holding 3 instances, answers in doubt: "+whyRegistry),
		after(suspectFor), is("r: 0 services, 1 watched, holding 3 instances"),
		says("web 1 2 3 4"), is("r: 0 services, 1 watched"))
}

// logs checks what was logged since the last time.
func logs(want ...string) act {
	return func(s *scene) {
		s.t.Helper()
		if got := s.log.take(); !slices.Equal(got, want) {
			s.t.Errorf("logged %q, want %q", got, want)
		}
	}
}

// TestHoldLog: a hold is logged once, and its end.
func TestHoldLog(t *testing.T) {
	const (
		warning = "WARN instances vanished implausibly: they are held and probed service=web registry=r held="
		release = "INFO held instances released service=web registry=r released="
	)
	play(t, guardConf(),
		says("web 1 2 3 4"), doubtfully("web 1"), logs(warning+"3 reason="+whyAnswer),
		says("web 1"), doubtfully("web 1~critical"), after(time.Hour), reports(), syncs(), logs(),
		dies("r", "web", "2"), logs(release+"1 held=2"),
		says("web 1 3 4"), logs(release+"2 held=0"),
		after(time.Hour), doubtfully("web"), logs(warning+"3 reason="+whyAnswer),
		releases("web", 3), logs(release+"3 held=0"), releases("web", 0), logs())
}

// TestMassHoldLog: a thousand holds are not a thousand lines, but they are mentioned.
func TestMassHoldLog(t *testing.T) {
	const n = 1000
	play(t, guardConf(), func(s *scene) {
		for i := range n {
			s.d.feed <- update("s"+strconv.Itoa(i), "1=a:"+strconv.Itoa(i))
		}
		syncs()(s)
		fails()(s)
		<-time.After(time.Second)
		s.log.take()
		syncs()(s)
		lines := s.log.take()
		more := func(line string) bool { return strings.Contains(line, "more services hold instances") }
		if len(lines) > 20 || !slices.ContainsFunc(lines, more) {
			s.t.Errorf("logged %d lines: %q", len(lines), lines)
		}
		if held := s.Statuses()[0].Held; held != n {
			s.t.Errorf("%d held, want %d", held, n)
		}
		for i := range n {
			s.Release("s" + strconv.Itoa(i))
		}
		if lines := s.log.take(); len(lines) == 0 || len(lines) > 20 {
			s.t.Errorf("logged %d lines: %q", len(lines), lines)
		}
		shows()(s)
	})
}

// TestHoldIsOnlyOfItsRegistry: one of the same name in another registry is untouched.
func TestHoldIsOnlyOfItsRegistry(t *testing.T) {
	play(t, guardConf(), func(s *scene) {
		other := newDouble()
		b := other.source("b", 1)
		b.Guard = guardConf()
		s.Apply([]watcher.Source{s.conf, b}, nil)
		doubtfully("web 1")(s)
		for _, text := range []string{"web 1 2 3 4", "api 1=web:2"} {
			s.send(other, listing(text))
			says(text)(s)
		}
		s.send(s.d, listing("api"))
		doubtfully("web 1")(s)
		u := listing("web 4")
		u.Suspect = whyAnswer
		s.send(other, u)
		// b's api has the address of its own web alone.
		want := []string{"api 1", "web !1 !3 4", "web 1 !2 !3 !4"}
		if got := picture(s.catalog()); !slices.Equal(got, want) {
			s.t.Errorf("got %q, want %q", got, want)
		}
		releases("web@b", 2)(s)
		releases("web", 3)(s)
	})
}
