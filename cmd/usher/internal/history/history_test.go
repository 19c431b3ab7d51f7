package history

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/routetable"
	"usher/watcher"
)

// noon is when the first table of a test came into use; each next one is a second later.
func noon() time.Time { return time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC) }

// scene adds tables to a log.
type scene struct {
	log   *Log
	rules *routetable.Rules
	table *routetable.Table
	n     uint64
}

func newScene(keep int) *scene {
	none := func(*routetable.Cluster, *routetable.ClusterState) routetable.Picker { return nil }
	return &scene{
		log: New(keep), table: routetable.Empty(),
		rules: &routetable.Rules{
			Defaults: config.Policy{Balance: "x"}, Balancers: map[string]routetable.Balancer{"x": none},
		},
	}
}

// add adds the table of services, "name/instance" each.
func (s *scene) add(services ...string) (*Generation, bool) {
	s.n++
	var list []*watcher.Service
	for _, text := range services {
		name, id, _ := strings.Cut(text, "/")
		list = append(list, &watcher.Service{
			Key: watcher.Key{Registry: "r", Service: name},
			Instances: []watcher.Instance{{
				ID: id, Address: "h:1", Weight: 1,
				Announcements: []watcher.Announcement{{Origin: watcher.FromTag, Where: "t", Text: name + ".test/"}},
			}},
		})
	}
	now := routetable.Build(watcher.NewCatalog(s.n, list...), s.rules, s.table)
	before := s.table
	s.table = now
	return s.log.Add(Table{
		Before: before, Now: now, At: noon().Add(time.Duration(s.n-1) * time.Second),
		Causes: []watcher.Cause{{Kind: "registry", Detail: fmt.Sprint("cause ", s.n)}},
	})
}

// Each table's number is found; those that changed nothing belong to the one before and
// push nothing out.
func TestEachNumberIsFound(t *testing.T) {
	s := newScene(3)
	g, news := s.add("a/1")
	if !news || g.Number != 1 || g.Summary != "1 route added, 1 service added, 1 instance added" || g.Routes != 1 {
		t.Errorf("the first is %+v, news %t", g, news)
	}
	for range 5 {
		if g, news = s.add("a/1"); news {
			t.Errorf("%+v changed nothing", g)
		}
	}
	if g.Number != 1 || g.Last != 6 || len(g.Causes) != 6 {
		t.Errorf("the first has become %+v", g)
	}
	s.add("a/1", "b/1")
	s.add("a/2", "b/1")
	for number, want := range map[uint64]uint64{1: 1, 4: 1, 6: 1, 7: 7, 8: 8} {
		if g := s.log.Find(number); g == nil || g.Number != want {
			t.Errorf("table %d belongs to %+v, want generation %d", number, g, want)
		}
	}
	s.add("b/1")
	for _, number := range []uint64{0, 1, 6, 10} {
		if g := s.log.Find(number); g != nil {
			t.Errorf("table %d belongs to %+v", number, g)
		}
	}
	if all := s.log.All(); len(all) != 3 || all[0].Number != 9 || all[2].Number != 7 {
		t.Errorf("there are %d generations", len(all))
	}
	s.log.Keep(0)
	if all := s.log.All(); len(all) != 1 || all[0].Number != 9 {
		t.Errorf("%d generations are left", len(all))
	}
}

func TestBetween(t *testing.T) {
	s := newScene(10)
	for i := range 6 {
		s.add(fmt.Sprintf("a/%d", i))
	}
	at := func(sec float64) time.Time { return noon().Add(time.Duration(sec * float64(time.Second))) }
	for name, c := range map[string]struct {
		from, to float64
		want     []uint64
	}{
		"some":             {1.5, 3.5, []uint64{4, 3, 2}},
		"a moment":         {2.5, 2.5, []uint64{3}},
		"before the first": {-9, -8, nil},
		"all":              {-9, 99, []uint64{6, 5, 4, 3, 2, 1}},
		"after the last":   {50, 60, []uint64{6}},
		"from its moment":  {2, 3, []uint64{3, 2}},
	} {
		var got []uint64
		for _, g := range s.log.Between(at(c.from), at(c.to)) {
			got = append(got, g.Number)
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// The past of each generation builds its table again, however little of it is left.
func TestPastsStay(t *testing.T) {
	s := newScene(100)
	r := rand.New(rand.NewPCG(1, 2))
	routes := map[uint64]int{}
	for range 50 {
		var services []string
		for _, name := range []string{"a", "b", "c", "d"} {
			if r.IntN(2) == 0 {
				services = append(services, fmt.Sprintf("%s/%d", name, r.IntN(3)))
			}
		}
		s.add(services...)
		routes[s.n] = len(services)
	}
	for number, want := range routes {
		if got := len(s.log.Find(number).Past.Table().Routes()); got != want {
			t.Errorf("table %d has %d routes again, had %d", number, got, want)
		}
	}
}

// Thousands of changes are counted, and a few such generations push out the others.
func TestMemoryIsBounded(t *testing.T) {
	s := newScene(100)
	names := func(round int) (out []string) {
		for i := range 9_000 {
			out = append(out, fmt.Sprintf("s%d/%d", i, round))
		}
		return out
	}
	for round := range 4 { // each but the first is 18,000 changes
		g, _ := s.add(names(round)...)
		if len(g.Changes) != maxChanges || g.Dropped == 0 {
			t.Errorf("%d changes are kept, %d dropped", len(g.Changes), g.Dropped)
		}
	}
	if all := s.log.All(); len(all) > 3 || all[0].Number != 4 {
		t.Errorf("%d generations are kept", len(all))
	}
}

func TestAwait(t *testing.T) {
	s := newScene(3)
	ctx, cancel := context.WithCancel(t.Context())
	s.add("a/1")
	s.log.Await(ctx, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.log.Await(ctx, 2)
	}()
	s.add("a/1")
	<-done
	cancel()
	s.log.Await(ctx, 9)
}
