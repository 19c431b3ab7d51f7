package watcher_test

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"usher/watcher"
)

// FuzzUpdates drives two sources through any sequence of updates, errors, failed
// runs, syncs and changed specs, beside a model: the catalog holds the last update
// of each key, less what a new run had not sent again when it synced.
func FuzzUpdates(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x01, 0x11, 0x01, 0x00, 0xc0, 0xe0})
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		ops := make([]byte, 60)
		for i := range ops {
			ops[i] = byte(r.Uint32())
		}
		f.Add(ops)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 400 {
			t.Skip("long enough")
		}
		inBubble(t, func(b *bench) {
			m := newModel(b)
			for i, op := range ops {
				m.do(op)
				if i%3 != 1 { // so that some changes come together
					m.check()
				}
			}
			m.check()
		})
	})
}

// model knows what the Manager must hold.
type model struct {
	*bench
	doubles  [2]*double
	specs    [2]int
	run      [2]int
	synced   [2]bool
	services [2]map[string]known
	// changed says that the Manager must have something new.
	changed bool
}

type known struct {
	variant byte
	run     int
}

func newModel(b *bench) *model {
	m := &model{bench: b}
	for i := range m.doubles {
		m.doubles[i] = newDouble()
		m.services[i] = map[string]known{}
	}
	m.apply()
	return m
}

func (m *model) apply() {
	m.Apply([]watcher.Source{m.doubles[0].source("a", m.specs[0]), m.doubles[1].source("b", m.specs[1])}, nil)
}

// do takes one step: the lowest bit is the source, the highest three the kind.
func (m *model) do(op byte) {
	i, d := int(op&1), m.doubles[op&1]
	switch op >> 5 {
	default:
		m.update(i, "s"+strconv.Itoa(int(op>>1&3)), op>>3&3)
	case 4:
		m.send(d, failed(errDown))
	case 5:
		m.fail(d, errDown)
		m.run[i]++
	case 6:
		m.sync(i)
	case 7:
		m.doubles[i] = newDouble()
		m.specs[i]++
		m.run[i]++
		m.synced[i] = false
		m.apply()
	}
}

func (m *model) update(i int, service string, variant byte) {
	u := update(service)
	if variant > 0 {
		u = update(service, "1=a:"+strconv.Itoa(int(variant)))
	}
	m.send(m.doubles[i], u)
	old, had := m.services[i][service]
	if variant == 0 {
		delete(m.services[i], service)
		m.changed = m.changed || had
		return
	}
	m.services[i][service] = known{variant, m.run[i]}
	m.changed = m.changed || old.variant != variant
}

func (m *model) sync(i int) {
	m.send(m.doubles[i], synced())
	m.changed = m.changed || !m.synced[i]
	m.synced[i] = true
	for name, k := range m.services[i] {
		if k.run != m.run[i] {
			delete(m.services[i], name)
			m.changed = true
		}
	}
}

// check compares the catalog with the model.
func (m *model) check() {
	m.t.Helper()
	if !m.changed {
		m.wantNothing()
		return
	}
	m.changed = false
	var want []string
	for i, registry := range []string{"a", "b"} {
		for name, k := range m.services[i] {
			want = append(want, name+"@"+registry+" 1=a:"+strconv.Itoa(int(k.variant)))
		}
	}
	slices.Sort(want)
	m.want(want...)
}
