package watcher

import (
	"hash/maphash"
	"iter"
)

// mapShards is the number of shards of a Map: a change copies one of them, a 256th
// of the whole.
const mapShards = 256

// Map is an immutable map from strings, made for changes that are small beside it:
// a changed one shares all but the shards that differ. The zero value is empty. Any
// goroutine may read.
type Map[V any] struct {
	seed   maphash.Seed
	shards *[mapShards]*shard[V]
	n      int
}

// shard is a part of a Map; a nil one is empty.
type shard[V any] struct{ m map[string]V }

// Len is the number of keys.
func (m Map[V]) Len() int { return m.n }

// Get returns the value of a key, the zero value when there is none.
func (m Map[V]) Get(key string) (v V) {
	if m.shards == nil {
		return v
	}
	if s := m.shards[maphash.String(m.seed, key)%mapShards]; s != nil {
		v = s.m[key]
	}
	return v
}

// GetBytes is Get for a key that is not a string; it does not allocate.
func (m Map[V]) GetBytes(key []byte) (v V) {
	if m.shards == nil {
		return v
	}
	if s := m.shards[maphash.Bytes(m.seed, key)%mapShards]; s != nil {
		v = s.m[string(key)]
	}
	return v
}

// All goes over the entries, in no order.
func (m Map[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		if m.shards == nil {
			return
		}
		for _, s := range m.shards {
			if s == nil {
				continue
			}
			for k, v := range s.m {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// Edit begins a changed copy. The Map stays as it is.
func (m Map[V]) Edit() *MapEdit[V] {
	if m.shards == nil {
		m = Map[V]{seed: maphash.MakeSeed(), shards: new([mapShards]*shard[V])}
	}
	shards := *m.shards
	return &MapEdit[V]{m: Map[V]{seed: m.seed, shards: &shards, n: m.n}}
}

// Changed goes over keys of two maps: all whose values differ are among them. Where
// one was edited into the other these are few; otherwise they are all.
func (m Map[V]) Changed(from Map[V]) iter.Seq[string] {
	return func(yield func(string) bool) {
		if m.seed != from.seed || m.shards == nil {
			m.keysOfBoth(from, yield)
			return
		}
		for i, now := range m.shards {
			was := from.shards[i]
			if now == was {
				continue
			}
			if !now.each(yield) || !was.eachNotIn(now, yield) {
				return
			}
		}
	}
}

func (m Map[V]) keysOfBoth(other Map[V], yield func(string) bool) {
	seen := map[string]bool{}
	for _, either := range []Map[V]{m, other} {
		for k := range either.All() {
			if !seen[k] && !yield(k) {
				return
			}
			seen[k] = true
		}
	}
}

func (s *shard[V]) each(yield func(string) bool) bool { return s.eachNotIn(nil, yield) }

func (s *shard[V]) eachNotIn(other *shard[V], yield func(string) bool) bool {
	if s == nil {
		return true
	}
	for k := range s.m {
		if other != nil {
			if _, there := other.m[k]; there {
				continue
			}
		}
		if !yield(k) {
			return false
		}
	}
	return true
}

// MapEdit is a changed copy of a Map in the making. One goroutine uses it.
type MapEdit[V any] struct {
	m Map[V]
	// own marks the shards that are this edit's already.
	own [mapShards]bool
}

// Get returns the value of a key as it is now.
func (e *MapEdit[V]) Get(key string) V { return e.m.Get(key) }

// Set gives a key a value.
func (e *MapEdit[V]) Set(key string, v V) {
	s := e.owned(key)
	if _, had := s.m[key]; !had {
		e.m.n++
	}
	s.m[key] = v
}

// Delete takes a key out.
func (e *MapEdit[V]) Delete(key string) {
	s := e.owned(key)
	if _, had := s.m[key]; had {
		e.m.n--
		delete(s.m, key)
	}
}

// owned returns the shard of a key, copied if it is shared.
func (e *MapEdit[V]) owned(key string) *shard[V] {
	i := maphash.String(e.m.seed, key) % mapShards
	if e.own[i] {
		return e.m.shards[i]
	}
	old := e.m.shards[i]
	s := &shard[V]{m: map[string]V{}}
	if old != nil {
		s.m = make(map[string]V, len(old.m)+1)
		for k, v := range old.m {
			s.m[k] = v
		}
	}
	e.own[i] = true
	e.m.shards[i] = s
	return s
}

// Map returns the Map as edited so far. Later edits do not touch it.
func (e *MapEdit[V]) Map() Map[V] {
	m := e.m
	shards := *e.m.shards
	e.m.shards = &shards
	e.own = [mapShards]bool{}
	return m
}
