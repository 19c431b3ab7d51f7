package watcher_test

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"usher/watcher"
)

// TestHoldsRandomly sends random listings, with random doubt, and checks what must
// always be so.
func TestHoldsRandomly(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			inBubble(t, func(b *bench) {
				w := &world{
					scene: newScene(b, guardConf()), rand: rand.New(rand.NewPCG(seed, 7)),
					listed: map[string][]watcher.Instance{},
				}
				for range 300 {
					w.step()
					w.check()
				}
				w.recover()
			})
		})
	}
}

// world is a registry that changes at random, and what it lists.
type world struct {
	*scene
	rand   *rand.Rand
	listed map[string][]watcher.Instance
}

func (w *world) step() {
	service := "s" + strconv.Itoa(w.rand.IntN(6))
	switch w.rand.IntN(20) {
	case 0:
		reports()(w.scene)
	case 1:
		after(time.Duration(w.rand.IntN(40)) * time.Second)(w.scene)
	case 2:
		w.Release(service)
	case 3:
		w.ReleaseInstance(watcher.Key{Registry: "r", Service: service}, strconv.Itoa(w.rand.IntN(8)))
	case 4:
		w.send(w.d, watcher.Update{Service: service, Unknown: true})
	case 5:
		w.runAgain()
	default:
		w.list(service, w.rand.IntN(3) == 0)
	}
}

// list makes a service list other instances. Some addresses are those of others.
func (w *world) list(service string, suspect bool) {
	var list []watcher.Instance
	for id := range 8 {
		if w.rand.IntN(3) == 0 {
			continue
		}
		address := service + ":" + strconv.Itoa(id)
		if w.rand.IntN(8) == 0 {
			address = "shared:" + strconv.Itoa(w.rand.IntN(6))
		}
		list = append(list, watcher.Instance{ID: strconv.Itoa(id), Address: address, Weight: 1})
	}
	if w.rand.IntN(4) == 0 {
		list = nil
	}
	before := w.listed[service]
	w.listed[service] = list
	u := watcher.Update{Service: service, Instances: slices.Clone(list)}
	if suspect {
		u.Suspect = whyAnswer
	}
	doubted := suspect || w.Statuses()[0].Doubt != ""
	w.send(w.d, u)
	if doubted {
		w.checkLoss(service, before)
	}
}

// checkLoss checks that what a service lost in a suspect answer is held, if it was
// much, and nothing else has its addresses.
func (w *world) checkLoss(service string, before []watcher.Instance) {
	w.t.Helper()
	taken := map[string]bool{}
	for _, list := range w.listed {
		for _, in := range list {
			taken[in.Address] = true
		}
	}
	ids := func(list []watcher.Instance) map[string]bool {
		set := map[string]bool{}
		for _, in := range list {
			set[in.ID] = true
		}
		return set
	}
	now, lost := ids(w.listed[service]), 0
	for _, in := range before {
		if !now[in.ID] {
			lost++
		}
	}
	if large := len(before) >= 4 && lost > len(before)/2; lost == 0 || (!large && len(now) > 0) {
		return
	}
	var kept map[string]bool
	for _, s := range w.catalog().Find(service) {
		kept = ids(s.Instances)
	}
	for _, in := range before {
		if !now[in.ID] && !taken[in.Address] && !kept[in.ID] {
			w.t.Fatalf("%d of %d of %s vanished in doubt, and %s was let go", lost, len(before), service, in.ID)
		}
	}
}

// runAgain makes a new run send all there is, and sync.
func (w *world) runAgain() {
	w.fail(w.d, errDown)
	<-time.After(time.Minute)
	for service, list := range w.listed {
		w.send(w.d, watcher.Update{Service: service, Instances: slices.Clone(list)})
	}
	w.send(w.d, synced())
}

// check compares the catalog with what the registry lists.
func (w *world) check() {
	w.t.Helper()
	if err := w.CheckGuards(); err != nil {
		w.t.Fatal(err)
	}
	c, total := w.catalog(), 0
	for name, listed := range w.listed {
		var got []watcher.Instance
		for _, s := range c.Find(name) {
			got = s.Instances
		}
		total += w.checkService(name, got, listed)
	}
	if st := w.Statuses()[0]; st.Held != total {
		w.t.Fatalf("the status tells of %d held instances, there are %d", st.Held, total)
	}
}

// checkService checks that the listed instances are those of the catalog that are not
// held, and returns the number of the held ones.
func (w *world) checkService(name string, got, listed []watcher.Instance) (held int) {
	w.t.Helper()
	addresses := map[string]bool{}
	for _, in := range listed {
		addresses[in.Address] = true
	}
	var plain []string
	for _, in := range got {
		if in.Held == nil {
			plain = append(plain, in.ID+"="+in.Address)
			continue
		}
		held++
		if addresses[in.Address] {
			w.t.Fatalf("%s of %s is held at an address that its service lists", in.ID, name)
		}
		if in.Held.Quorum < 1 || in.Held.Reason == "" || in.Held.Since.After(time.Now()) {
			w.t.Fatalf("%s of %s is held with %+v", in.ID, name, in.Held)
		}
	}
	var want []string
	for _, in := range listed {
		want = append(want, in.ID+"="+in.Address)
	}
	if !slices.Equal(plain, want) {
		w.t.Fatalf("%s lists %q, the catalog %q", name, want, plain)
	}
	if !slices.IsSortedFunc(got, func(a, b watcher.Instance) int { return strings.Compare(a.ID, b.ID) }) {
		w.t.Fatalf("%s is out of order: %q", name, picture(w.last))
	}
	return held
}

// recover lists everything that ever was: then nothing is held.
func (w *world) recover() {
	w.t.Helper()
	for service := range w.listed {
		var list []watcher.Instance
		for id := range 8 {
			list = append(list, watcher.Instance{
				ID: strconv.Itoa(id), Address: service + ":" + strconv.Itoa(id), Weight: 1,
			})
		}
		w.listed[service] = list
		w.send(w.d, watcher.Update{Service: service, Instances: slices.Clone(list)})
	}
	w.check()
	if st := w.Statuses()[0]; st.Held != 0 || strings.Contains(strings.Join(picture(w.catalog()), ""), "!") {
		w.t.Errorf("%d still held: %q", st.Held, picture(w.last))
	}
}
