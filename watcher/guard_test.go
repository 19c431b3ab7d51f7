package watcher_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/watcher"
)

// TestHold: what vanishes implausibly stays, marked.
func TestHold(t *testing.T) {
	for name, acts := range map[string][]act{
		"three of four in a suspect answer": {
			doubtfully("web 1"), shows("web 1 !2 !3 !4"), holdIs("web", whyAnswer, 2, 0),
		},
		"all four in a suspect answer": {doubtfully("web"), shows("web !1 !2 !3 !4")},
		"after a report": {
			reports(), says("web 1"), shows("web 1 !2 !3 !4"), holdIs("web", whyRegistry, 2, 0),
		},
		"at the end of the time a report counts": {
			reports(), after(suspectFor - 1), says("web 1"), shows("web 1 !2 !3 !4"),
		},
		"before a report": {
			says("web 1"), shows("web 1"),
			reports(), shows("web 1 !2 !3 !4"), holdIs("web", whyRegistry, 2, 0),
		},
		"a window before a report": {
			says("web 1"), after(10 * time.Second), reports(), shows("web 1 !2 !3 !4"),
		},
		"a service that was gone, before a report": {
			says("web"), shows(), after(time.Second), reports(), shows("web !1 !2 !3 !4"),
		},
		"in several suspect answers": {
			doubtfully("web 1 2 3"), shows("web 1 2 3"),
			after(5 * time.Second), doubtfully("web 1 2"), shows("web 1 2"),
			after(5 * time.Second), doubtfully("web 1"), shows("web 1 !2 !3 !4"), holdIs("web", whyAnswer, 2, 0),
		},
		"in several answers, the last of them suspect": {
			says("web 1 2 3", "web 1 2"), shows("web 1 2"),
			after(time.Second), doubtfully("web 1"), shows("web 1 !2 !3 !4"),
		},
		"in answers before one that is suspect and takes nothing more": {
			says("web 1"), shows("web 1"), doubtfully("web 1"), shows("web 1 !2 !3 !4"),
		},
		"four, of which one was replaced, before a report": {
			says("web 5"), reports(), shows("web !1 !2 !3 !4 5"), holdIs("web", whyRegistry, 2, 0),
		},
		"while others arrive": {doubtfully("web 1 5 6 7"), shows("web 1 !2 !3 !4 5 6 7")},
		"while all are replaced": {
			doubtfully("web 5 6 7 8"), shows("web !1 !2 !3 !4 5 6 7 8"), holdIs("web", whyAnswer, 2, 0),
		},
		"all of a small service": {
			says("one 1"), doubtfully("one"), shows("one !1", "web 1 2 3 4"), holdIs("one", whyAnswer, 1, 0),
		},
		"all of a small service, one after the other": {
			says("two 1 2", "two 1"), doubtfully("two"), shows("two !1 !2", "web 1 2 3 4"),
		},
		"all of a small service, before a report": {
			says("two 1 2", "two"), reports(), shows("two !1 !2", "web 1 2 3 4"),
		},
		"critical ones as well": {
			says("web 1 2~critical 3~maintenance 4"), doubtfully("web 1"), shows("web 1 !2 !3 !4"),
		},
		"all but the excused ones": {excusing("web", "1"), shows("web !2 !3 !4")},
		"a service that a new run does not find, in doubt": {
			syncs(), fails(), after(time.Second), reports(), syncs(), shows("web !1 !2 !3 !4"),
		},
		"of a larger service": {
			says("big 1 2 3 4 5 6 7 8 9"), doubtfully("big 1 2 3 4"),
			shows("big 1 2 3 4 !5 !6 !7 !8 !9", "web 1 2 3 4"), holdIs("big", whyAnswer, 5, 0),
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, guardConf(), append([]act{says("web 1 2 3 4"), shows("web 1 2 3 4")}, acts...)...)
		})
	}
}

// TestNoHold: what is plausible, or said by one that may be believed, applies at once.
func TestNoHold(t *testing.T) {
	for name, acts := range map[string][]act{
		"a trustworthy answer":             {says("web 1"), shows("web 1")},
		"a trustworthy answer that is all": {says("web"), shows()},
		"half of it":                       {doubtfully("web 1 2"), shows("web 1 2")},
		"less than half of it":             {doubtfully("web 1 2 3"), shows("web 1 2 3")},
		"most of a small service": {
			says("web 1 2 3"), after(time.Minute), doubtfully("web 1"), shows("web 1"),
		},
		"all of a small service that is replaced": {
			says("two 1 2"), doubtfully("two 3 4"), shows("two 3 4", "web 1 2 3 4"),
		},
		"over more than the window": {
			doubtfully("web 1 2 3"), after(6 * time.Second), doubtfully("web 1 2"), after(6 * time.Second),
			doubtfully("web 1"), shows("web 1"),
		},
		"longer than the window before a report": {
			says("web 1"), after(10*time.Second + 1), reports(), shows("web 1"),
		},
		"when a report counts no more": {
			reports(), after(suspectFor), says("web 1"), shows("web 1"),
		},
		"back before the report": {
			says("web 1", "web 1 2 3 4"), reports(), shows("web 1 2 3 4"),
		},
		"critical and in maintenance, but listed": {
			doubtfully("web 1~critical 2~critical 3~maintenance 4~maintenance"), shows("web 1 2 3 4"),
		},
		"excused": {excusing("web 1", "2", "3", "4"), shows("web 1")},
		"excused, by the instance a name was resolved for": {
			says("web a#10.0.0.1 a#10.0.0.2 a#10.0.0.3 b"), after(time.Minute), excusing("web b", "a"), shows("web b"),
		},
		"all replaced, before a suspect answer that takes nothing": {
			says("web 5 6 7 8"), doubtfully("web 5 6 7 8"), shows("web 5 6 7 8"),
		},
		"all replaced, before a report": {
			says("web 5 6 7 8"), reports(), shows("web 5 6 7 8"),
		},
		"one after the other, each replaced, before a report": {
			says("web 1 2 3 5", "web 1 2 5 6", "web 1 5 6 7"), reports(), shows("web 1 5 6 7"),
		},
		"a service that a new run does not find": {
			syncs(), fails(), after(time.Second), syncs(), shows(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, guardConf(), append([]act{says("web 1 2 3 4"), shows("web 1 2 3 4")}, acts...)...)
		})
	}
}

// TestUnguarded: without a guard a registry means what it says.
func TestUnguarded(t *testing.T) {
	disabled := guardConf()
	disabled.Enabled = false
	for name, guard := range map[string]*config.Guard{"disabled": disabled, "a file": nil} {
		t.Run(name, func(t *testing.T) {
			play(t, guard,
				says("web 1 2 3 4", "big 1 2 3 4 5 6 7 8"), doubtfully("web 1"), shows("big 1 2 3 4 5 6 7 8", "web 1"),
				reports(), shows("big 1 2 3 4 5 6 7 8", "web 1"), says("big"), shows("web 1"))
		})
	}
}

// TestGuardSettings: the shares, the sizes and the window are those configured.
func TestGuardSettings(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*config.Guard)
		acts   []act
	}{
		"a higher share": {
			func(g *config.Guard) { g.ServiceShare = 0.75 },
			[]act{doubtfully("web 1"), shows("web 1")},
		},
		"a lower share": {
			func(g *config.Guard) { g.ServiceShare = 0.25 },
			[]act{doubtfully("web 1 2"), shows("web 1 2 !3 !4"), holdIs("web", whyAnswer, 3, 0)},
		},
		"all of it": {
			func(g *config.Guard) { g.ServiceShare = 1 },
			[]act{
				doubtfully("web 1"), shows("web 1"), doubtfully("web"), shows("web !1 !2 !3 !4"),
				holdIs("web", whyAnswer, 1, 0),
			},
		},
		"larger services alone": {
			func(g *config.Guard) { g.MinEndpoints = 5 },
			[]act{doubtfully("web 1"), shows("web 1")},
		},
		"smaller services too": {
			func(g *config.Guard) { g.MinEndpoints = 2 },
			[]act{says("two 1 2 3"), doubtfully("two 1"), shows("two 1 !2 !3", "web 1 2 3 4")},
		},
		"a longer window": {
			func(g *config.Guard) { g.Window = time.Minute },
			[]act{says("web 1"), after(time.Minute), reports(), shows("web 1 !2 !3 !4")},
		},
		"a smaller catalog": {
			func(g *config.Guard) { g.MinCatalog = 4 },
			[]act{says("web 1"), shows("web 1 !2 !3 !4"), holdIs("web", whyCatalog, 2, 0)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			guard := guardConf()
			test.change(guard)
			play(t, guard, append([]act{says("web 1 2 3 4")}, test.acts...)...)
		})
	}
}

// TestMassLoss: that the whole catalog shrinks at once is reason enough for doubt.
func TestMassLoss(t *testing.T) {
	// Twelve instances in three services.
	const four = " 1 2 3 4"
	all := says("a"+four, "b"+four, "c"+four)
	for name, acts := range map[string][]act{
		"more than half: those that went before come back": {
			all, says("a"), shows("b 1 2 3 4", "c 1 2 3 4"),
			says("b 1 2 3 4", "b 1 2"), shows("b 1 2", "c 1 2 3 4"),
			says("b 1"), shows("a !1 !2 !3 !4", "b 1 !2 !3 !4", "c 1 2 3 4"),
			holdIs("a", whyCatalog, 2, 0), holdIs("b", whyCatalog, 2, 0),
		},
		"a little from each": {
			all, says("a 1", "b 1"), shows("a 1", "b 1", "c 1 2 3 4"),
			says("c 1 2 3"), shows("a 1 !2 !3 !4", "b 1 !2 !3 !4", "c 1 2 3"), // c is large still
		},
		"what follows is held at once": {
			all, says("a", "b"), shows("a !1 !2 !3 !4", "b !1 !2 !3 !4", "c 1 2 3 4"),
			after(suspectFor - 1), says("c"), shows("a !1 !2 !3 !4", "b !1 !2 !3 !4", "c !1 !2 !3 !4"),
		},
		"what follows much later is not": {
			all, says("a", "b"), after(suspectFor), says("c"), shows("a !1 !2 !3 !4", "b !1 !2 !3 !4"),
		},
		"of what there was in the window before": {
			all, after(9 * time.Second), says("a"), after(2 * time.Second), says("b 1"),
			shows("a !1 !2 !3 !4", "b 1 !2 !3 !4", "c 1 2 3 4"),
		},
		"of what is left of a larger catalog": {
			all, says("d"+four, "e"+four, "f"+four), after(time.Minute), says("d"), after(time.Minute), says("e"),
			after(time.Minute), says("f"), after(time.Minute), says("a", "b 1"),
			shows("a !1 !2 !3 !4", "b 1 !2 !3 !4", "c 1 2 3 4"),
		},
		"exactly half": {
			all, says("a", "b 1 2"), shows("b 1 2", "c 1 2 3 4"),
		},
		"over more than the window": {
			all, says("a"), after(10*time.Second + 1), says("b"), shows("c 1 2 3 4"),
		},
		"a small catalog": {
			says("a"+four, "b"+four, "c 1"), says("a"), says("b"), shows("c 1"),
		},
		"a catalog of ten": {
			says("a"+four, "b"+four, "c 1 2"), says("a", "b"), shows("a !1 !2 !3 !4", "b !1 !2 !3 !4", "c 1 2"),
		},
		"small services": {
			says(split("s", 12)...), says(names("s", 0, 6)...), shows(split("s", 12)[6:]...),
			says("s06"), func(s *scene) {
				want := append([]string{}, split("s", 12)...)
				for i := range 7 {
					want[i] = strings.Replace(want[i], " 1", " !1", 1)
				}
				shows(want...)(s)
			},
		},
		"a rolling change": {
			all, says("a 1 2 3 5", "a 1 2 5 6", "a 1 5 6 7", "a 5 6 7 8", "b 1 2 3 5", "b 1 2 5 6"),
			shows("a 5 6 7 8", "b 1 2 5 6", "c 1 2 3 4"),
		},
		"everything is replaced": {
			all, says("a 5 6 7 8", "b 5 6 7 8", "c 5 6 7 8"), shows("a 5 6 7 8", "b 5 6 7 8", "c 5 6 7 8"),
		},
		"other services take the place of all": {
			all, says("d"+four, "a", "e"+four, "b", "f"+four, "c"), shows("d 1 2 3 4", "e 1 2 3 4", "f 1 2 3 4"),
		},
		"excused": {
			all, excusing("a", "1", "2", "3", "4"), excusing("b", "1", "2", "3", "4"),
			excusing("c", "1", "2", "3", "4"), shows(),
		},
		"a new run finds nothing": {
			all, syncs(), fails(), after(time.Second), syncs(),
			shows("a !1 !2 !3 !4", "b !1 !2 !3 !4", "c !1 !2 !3 !4"),
		},
		"a new run finds one": {
			all, syncs(), fails(), after(time.Second), says("b" + four), syncs(),
			shows("a !1 !2 !3 !4", "b 1 2 3 4", "c !1 !2 !3 !4"),
		},
	} {
		t.Run(name, func(t *testing.T) { play(t, guardConf(), acts...) })
	}
}

// split is a catalog of n services of one instance each.
func split(prefix string, n int) []string {
	list := names(prefix, 0, n)
	for i := range list {
		list[i] += " 1"
	}
	return list
}

// names are numbered services, in order.
func names(prefix string, from, to int) (list []string) {
	for i := from; i < to; i++ {
		list = append(list, prefix+strconv.Itoa(i/10)+strconv.Itoa(i%10))
	}
	return list
}

// TestSharedAddress: a process may be several services; none of them takes the
// address of the other, in whatever order they vanish and come back.
func TestSharedAddress(t *testing.T) {
	both := says("api 1=h:1 2=h:2 3=h:3 4=h:4", "web 5=h:1 6=h:2 7=h:3 8=h:4")
	play(t, guardConf(), both, after(time.Minute),
		doubtfully("api"), shows("api !1 !2 !3 !4", "web 5 6 7 8"),
		says("web 5=h:1 6=h:2 7=h:3 8=h:4"), shows("api !1 !2 !3 !4", "web 5 6 7 8"),
		doubtfully("web"), shows("api !1 !2 !3 !4", "web !5 !6 !7 !8"),
		says("web 5=h:1 6=h:2 7=h:3 8=h:4"), shows("api !1 !2 !3 !4", "web 5 6 7 8"),
		says("api 1=h:1 2=h:2 3=h:3 4=h:4"), shows("api 1 2 3 4", "web 5 6 7 8"),
		// One that comes later takes it.
		doubtfully("api"), says("new 9=h:3"), shows("api !1 !2 !4", "new 9", "web 5 6 7 8"))
}

// TestUnknown: what could not be read stays as it is.
func TestUnknown(t *testing.T) {
	unknown := func(s *scene) { s.send(s.d, watcher.Update{Service: "web", Unknown: true}) }
	play(t, guardConf(),
		unknown, shows(),
		says("web 1 2 3 4"), syncs(), shows("web 1 2 3 4"),
		unknown, shows("web 1 2 3 4"),
		doubtfully("web 1"), unknown, shows("web 1 !2 !3 !4"),
		// It counts as sent: the sync of a new run does not drop it.
		says("web 1 2 3 4"), fails(), after(time.Second), unknown, syncs(), shows("web 1 2 3 4"),
		fails(), after(time.Second), syncs(), shows())
}

// TestUnknownIn: so does what is in a datacenter that has not told.
func TestUnknownIn(t *testing.T) {
	from := func(dc string, ids ...string) (list []watcher.Instance) {
		for _, id := range ids {
			list = append(list, watcher.Instance{ID: id, Address: dc + ":" + id, Datacenter: dc, Weight: 1})
		}
		return list
	}
	tells := func(unknown []string, list ...[]watcher.Instance) act {
		return func(s *scene) {
			u := watcher.Update{Service: "web", UnknownIn: unknown, Suspect: whyAnswer}
			for _, l := range list {
				u.Instances = append(u.Instances, l...)
			}
			s.send(s.d, u)
		}
	}
	play(t, guardConf(),
		tells(nil, from("a", "1", "2"), from("b", "3", "4")), shows("web 1 2 3 4"),
		tells([]string{"b"}, from("a", "5", "6")), shows("web 3 4 5 6"),
		tells([]string{"a", "b"}), shows("web 3 4 5 6"),
		after(time.Minute),
		tells([]string{"c"}, from("a", "5")), shows("web !3 !4 5 !6"),
		tells([]string{"b"}, from("a", "5", "6"), from("b", "3")), shows("web 3 !4 5 6"),
		tells(nil, from("a", "5", "6"), from("b", "3", "4")), shows("web 3 4 5 6"))
}
