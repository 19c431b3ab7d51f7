package routetable

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/watcher"
)

// line is a change in one line.
func (c Change) line() string {
	text := c.Kind + " " + c.What + " " + c.Name
	if c.Owner != "" {
		text += " (" + c.Owner + ")"
	}
	for _, f := range c.Fields {
		text += fmt.Sprintf(" %s: %q -> %q", f.Name, f.From, f.To)
	}
	return text
}

func lines(changes []Change) (out []string) {
	for _, c := range changes {
		out = append(out, c.line())
	}
	return out
}

func TestDiff(t *testing.T) {
	sick := instance("i", "a.com/")
	sick.Status, sick.Cause = watcher.Critical, "check x is critical"
	slow := rulesOf(to("r", "s", "r.com/"))
	slow.Defaults.Timeout = time.Second
	own := rulesOf(to("r", "s", "r.com/"))
	own.Services = map[string]config.Service{"s": {Policy: config.Policy{Balance: "first", MaxRequests: 7}}}
	moved := to("r", "t", "r.com/")
	moved.Pos = config.Pos{File: "other", Line: 9}
	type input struct {
		catalog *watcher.Catalog
		rules   *Rules
	}
	plain := input{announce("a.com/"), rulesOf()}
	routed := input{announce("a.com/"), rulesOf(to("r", "s", "r.com/"))}
	for name, c := range map[string]struct {
		from, to input
		want     []string
	}{
		"nothing": {plain, plain, nil},
		"an equal configuration": {
			routed,
			input{routed.catalog, rulesOf(to("r", "s", "r.com/"))},
			nil,
		},
		"a check": {
			plain,
			input{catalogOf(service("s", sick)), rulesOf()},
			[]string{
				`changed instance s@consul/i status: "passing" -> "critical" cause: "" -> "check x is critical"`,
			},
		},
		"a service comes": {
			plain,
			input{catalogOf(service("s", instance("i", "a.com/")), service("t", instance("j", "t.com/"))), rulesOf()},
			[]string{
				"added route t.com/ (t@consul urlprefix-t.com/)", "added service t@consul",
				"added instance t@consul/j",
			},
		},
		"a rule changes": {
			plain,
			input{announce("a.com/ strip=/x"), rulesOf()},
			[]string{
				`changed route a.com/ (s@consul urlprefix-a.com/ strip=/x) owner: "s@consul urlprefix-a.com/" -> ` +
					`"s@consul urlprefix-a.com/ strip=/x"`,
				`changed instance s@consul/i rules: "tag a.com/" -> "tag a.com/ strip=/x"`,
			},
		},
		"a rule breaks": {
			plain,
			input{announce("a.com/ weight=x"), rulesOf()},
			[]string{
				`changed instance s@consul/i rules: "tag a.com/" -> "tag a.com/ weight=x"`,
				`added refusal s@consul/i urlprefix-a.com/ weight=x: weight "x" is not a share between 0 and 1`,
			},
		},
		"the configuration takes another service": {
			routed,
			input{routed.catalog, rulesOf(moved)},
			[]string{`changed route r (other:9) service: "s" -> "t"`},
		},
		"a setting of all": {
			routed,
			input{routed.catalog, slow},
			[]string{`changed settings defaults timeout: "0s" -> "1s"`},
		},
		"a setting of one": {
			routed,
			input{routed.catalog, own},
			[]string{`changed settings s max_requests: "0" -> "7"`},
		},
		"a conflict": {
			plain,
			input{announce("a.com/"), rulesOf(to("mine", "s", "a.com/"))},
			[]string{
				"removed route a.com/ (s@consul urlprefix-a.com/)", "added route mine (usher.yaml:1:1)",
				"added conflict a.com/: route mine over s@consul urlprefix-a.com/",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			from := Build(c.from.catalog, c.from.rules, nil)
			got := lines(Diff(from, Build(c.to.catalog, c.to.rules, from)))
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// mirrored are the changes seen from the other side.
func mirrored(changes []Change) (out []Change) {
	back := map[string]string{Added: Removed, Removed: Added, Changed: Changed}
	for _, c := range changes {
		now := Change{Kind: back[c.Kind], What: c.What, Name: c.Name}
		for _, f := range c.Fields {
			now.Fields = append(now.Fields, Field{f.Name, f.To, f.From})
		}
		out = append(out, now)
	}
	slices.SortFunc(out, compareChanges)
	return out
}

// withoutOwners: of a changed route the owner now is told.
func withoutOwners(changes []Change) (out []Change) {
	for _, c := range changes {
		c.Owner = ""
		out = append(out, c)
	}
	slices.SortFunc(out, compareChanges)
	return out
}

// For tables that came about in whatever way: no difference to themselves or to themselves
// made again; the way back is the mirror of the way there; what shares much and what
// shares nothing differ in the same things; and tables without a difference are the same.
func TestDiffProperties(t *testing.T) {
	same, different := 0, 0
	for seed := range uint64(150) {
		d := draw(rand.New(rand.NewPCG(seed, 23)).IntN)
		catalog, rules, a := pastTable(d)
		for step := range uint64(4) {
			catalog, rules = randomStep(d, 10+step, catalog, rules)
			b := Build(catalog, rules, a)
			again := b.Past().Table()
			if got := Diff(b, b); len(got) > 0 {
				t.Fatalf("seed %d: a table differs from itself: %q", seed, lines(got))
			}
			if got := Diff(b, again); len(got) > 0 {
				t.Fatalf("seed %d: a table differs from itself, made again: %q", seed, lines(got))
			}
			there := Diff(a, b)
			if back := Diff(b, a); !reflect.DeepEqual(mirrored(there), withoutOwners(back)) {
				t.Fatalf("seed %d: there\n%s\nand back\n%s", seed, strings.Join(lines(there), "\n"),
					strings.Join(lines(back), "\n"))
			}
			if apart := Diff(a.Past().Table(), again); !reflect.DeepEqual(there, apart) {
				t.Fatalf("seed %d: got\n%s\nof tables that share nothing\n%s", seed, strings.Join(lines(there), "\n"),
					strings.Join(lines(apart), "\n"))
			}
			if len(there) > 0 {
				different++
			} else if same++; dump(a) != dump(b) {
				t.Fatalf("seed %d: no difference between\n%s\nand\n%s", seed, dump(a), dump(b))
			}
			a = b
		}
	}
	if different < 100 {
		t.Errorf("%d tables were the same, %d different", same, different)
	}
}

// Applied, the added and removed routes and instances lead from one table to the other.
func TestDiffAddsUp(t *testing.T) {
	for seed := range uint64(150) {
		d := draw(rand.New(rand.NewPCG(seed, 24)).IntN)
		_, _, a := pastTable(d)
		_, _, b := pastTable(d)
		have := namesIn(a)
		for _, c := range Diff(a, b) {
			key := c.What + " " + c.Name
			switch {
			case c.Kind == Changed || c.What == WhatRefusal || c.What == WhatConflict:
			case have[key] == (c.Kind == Added):
				t.Fatalf("seed %d: %s, but that was there: %t", seed, c.line(), have[key])
			default:
				have[key] = c.Kind == Added
			}
		}
		for key, want := range namesIn(b) {
			if have[key] != want {
				t.Fatalf("seed %d: %s is missing", seed, key)
			}
			delete(have, key)
		}
		for key, left := range have {
			if left {
				t.Fatalf("seed %d: %s is left", seed, key)
			}
		}
	}
}

// namesIn are the routes, services and instances of a table.
func namesIn(table *Table) map[string]bool {
	out := map[string]bool{}
	for _, r := range table.Routes() {
		out[WhatRoute+" "+r.ID] = true
	}
	for _, s := range table.catalog.Services() {
		out[WhatService+" "+s.String()] = true
		for i := range s.Instances {
			out[WhatInstance+" "+s.String()+"/"+s.Instances[i].ID] = true
		}
	}
	return out
}

// BenchmarkDiff compares a table of 10,000 services with the next one.
func BenchmarkDiff(b *testing.B) {
	const n = 10_000
	services := func(changed int) (out []*watcher.Service) {
		for i := range n {
			in := instance(fmt.Sprintf("i%d", i), fmt.Sprintf("h%d.com/", i))
			if i < changed {
				in.Status = watcher.Critical
			}
			out = append(out, service(fmt.Sprintf("s%d", i), in))
		}
		return out
	}
	rules := rulesOf()
	catalog := catalogOf(services(0)...)
	from := Build(catalog, rules, nil)
	for _, changed := range []int{1, 100, n} {
		b.Run(fmt.Sprintf("changed=%d", changed), func(b *testing.B) {
			to := Build(catalog.With(2, services(changed)[:changed]...), rules, from)
			b.ReportAllocs()
			for b.Loop() {
				if len(Diff(from, to)) != changed {
					b.Fatal("another difference")
				}
			}
		})
	}
	b.Run("build, changed=10000", func(b *testing.B) {
		next := catalog.With(2, services(n)...)
		for b.Loop() {
			Build(next, rules, from)
		}
	})
	b.Run("made again", func(b *testing.B) {
		for b.Loop() {
			from.Past().Table()
		}
	})
}
