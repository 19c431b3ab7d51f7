package balance

import "usher/routetable"

// maglev looks a key's endpoint up in a table in which each endpoint has a share by its
// weight (Eisenbud et al., Maglev, 2016). The shares are very even, and a look-up is one
// read. When an endpoint comes or goes, its own share moves and little else.
//
// A key whose endpoint is out, or was tried, looks at another place, which the key alone
// decides: so only the keys of that endpoint move, evenly over the others, and come back
// with it.
type maglev struct {
	*maglevTable
	sieves sieves
}

// maglevTable is immutable.
type maglevTable struct {
	roster
	slots []uint32
}

const (
	// maglevSize is the number of slots, a prime; it is the same for clusters of all
	// sizes, since with another size every key moves. maglevLarge is for those that
	// have too many endpoints for even shares.
	maglevSize  = 65537
	maglevLarge = 655373
	manyEntries = maglevSize / 10
)

// NewMaglev returns a picker by PickInfo.Key; without one it picks by chance. The state
// keeps the table, of 256 KiB, for the next one.
func NewMaglev(c *routetable.Cluster, state *routetable.ClusterState) routetable.Picker {
	return &maglev{maglevTable: tableOf(c, state, newMaglevTable)}
}

func newMaglevTable(r roster) *maglevTable {
	t := &maglevTable{roster: r}
	size := uint64(maglevSize)
	if len(r.ids) > manyEntries {
		size = maglevLarge
	}
	t.fill(size)
	return t
}

func (t *maglevTable) madeOf(r *roster) bool { return t.equal(r) }

// fill gives the slots away, in rounds in which each endpoint takes as many as its weight
// says: the next free ones in an order of all slots that is its own.
func (t *maglevTable) fill(size uint64) {
	next, step := make([]uint64, len(t.ids)), make([]uint64, len(t.ids))
	owed := make([]float64, len(t.ids))
	some := false
	for i, id := range t.ids {
		next[i], step[i] = mix(id)%size, mix(id+1)%(size-1)+1
		some = some || t.weights[i] > 0
	}
	if !some {
		return
	}
	const free = ^uint32(0)
	t.slots = make([]uint32, size)
	for i := range t.slots {
		t.slots[i] = free
	}
	for left := size; ; {
		for i, w := range t.weights {
			if owed[i] += w; owed[i] < 1 {
				continue
			}
			owed[i]--
			for t.slots[next[i]] != free {
				if next[i] += step[i]; next[i] >= size {
					next[i] -= size
				}
			}
			t.slots[next[i]] = uint32(i)
			if left--; left == 0 {
				return
			}
		}
	}
}

// Pick implements routetable.Picker.
func (m *maglev) Pick(v *routetable.View, p *routetable.PickInfo) (int, error) {
	switch {
	case len(v.Usable) == 0:
		return -1, routetable.ErrNoEndpoint
	case !p.HasKey:
		return random{}.Pick(v, p)
	case len(m.slots) == 0:
		return m.rendezvous(v, p)
	}
	s, bits := m.sieves.of(v, m.weights), mix(p.Key)
	for range maxWalk {
		i := m.slots[bits>>32*uint64(len(m.slots))>>32]
		if s.lets(i, uint32(bits)) && !p.Tried(int32(i)) {
			return int(i), nil
		}
		bits = mix(bits)
	}
	return m.rendezvous(v, p)
}
