package certs

import (
	"cmp"
	"crypto/tls"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"usher/config"
)

// served is a certificate as it is sent by the listeners with the same OCSP settings.
type served struct {
	pair *pair
	ocsp config.OCSP
	// cert is that of pair, with a staple if there is one. Whoever is handed it may keep
	// it: it never changes, another one takes its place.
	cert atomic.Pointer[tls.Certificate]
	// staple belongs to the goroutine that asks responders.
	staple staple
}

func newServed(p *pair, ocsp config.OCSP) *served {
	s := &served{pair: p, ocsp: ocsp}
	s.cert.Store(&p.cert)
	return s
}

// index finds the certificates of one listener by name. It is immutable.
type index struct {
	// exact are those for a name, wild those for all names one label below one. Each list
	// is in order of preference.
	exact, wild map[string][]*served
	// fallback are those for clients that name no host, or one that nothing is for.
	fallback []*served
}

// newIndex returns the index of certificates in the order of their sources. The first of
// them, or the one that standard names, is for clients that name none. found says whether
// there is one of that name.
func newIndex(all []*served, standard string) (ix *index, found bool) {
	ix = &index{exact: make(map[string][]*served, len(all)), wild: map[string][]*served{}}
	for _, s := range all {
		for _, name := range s.pair.names {
			if parent, ok := strings.CutPrefix(name, "*."); ok {
				ix.wild[parent] = append(ix.wild[parent], s)
			} else {
				ix.exact[name] = append(ix.exact[name], s)
			}
		}
	}
	for _, m := range []map[string][]*served{ix.exact, ix.wild} {
		for _, list := range m {
			slices.SortStableFunc(list, prefer)
		}
	}
	ix.fallback, found = ix.standard(all, strings.ToLower(standard))
	return ix, found
}

// prefer is the order in which certificates for the same name are offered to a client: the
// kind of key that is the least work, then the one that ends last.
func prefer(a, b *served) int {
	return cmp.Or(
		cmp.Compare(a.pair.rank, b.pair.rank),
		b.pair.cert.Leaf.NotAfter.Compare(a.pair.cert.Leaf.NotAfter),
	)
}

// standard returns what clients get that nothing is for: the certificate with that name,
// or the ones for that host; the first without a name, and with one that nothing has. Its
// twins come with it: the same certificate with another kind of key.
func (ix *index) standard(all []*served, name string) (list []*served, found bool) {
	if len(all) == 0 {
		return nil, name == ""
	}
	first := slices.IndexFunc(all, func(s *served) bool { return strings.ToLower(s.pair.name) == name })
	if hosts := ix.lookup(name); first < 0 && len(hosts) > 0 {
		return hosts, true
	}
	chosen := all[max(first, 0)]
	list = []*served{chosen}
	for _, s := range all {
		if s.pair.rank != chosen.pair.rank && slices.Equal(s.pair.names, chosen.pair.names) {
			list = append(list, s)
		}
	}
	slices.SortStableFunc(list, prefer)
	return list, first >= 0 || name == ""
}

func (ix *index) lookup(name string) []*served {
	if list := ix.exact[name]; len(list) > 0 {
		return list
	}
	return ix.wild[parent(name)]
}

// parent is a name without its first label.
func parent(name string) string {
	_, rest, _ := strings.Cut(name, ".")
	return rest
}

// find returns the certificate for the name that a client asks for, nil when there is
// none: one for the very name goes before one for all below its parent, unless the client
// cannot use it.
func (ix *index) find(hello *tls.ClientHelloInfo, now time.Time) *served {
	name := hello.ServerName
	if name == "" {
		return nil
	}
	name = strings.ToLower(name) // no copy where it is so already
	exact, wild := ix.exact[name], ix.wild[parent(name)]
	if len(exact)+len(wild) <= 1 {
		return firstOf(exact, wild)
	}
	for _, list := range [][]*served{exact, wild} {
		if s := choose(list, hello, now); s != nil {
			return s
		}
	}
	return firstOf(exact, wild)
}

func firstOf(lists ...[]*served) *served {
	for _, list := range lists {
		if len(list) > 0 {
			return list[0]
		}
	}
	return nil
}

// choose returns the first that the client can use and that is not over; one that is, if
// that is all; nil if the client can use none.
func choose(list []*served, hello *tls.ClientHelloInfo, now time.Time) *served {
	var over *served
	for _, s := range list {
		if hello.SupportsCertificate(&s.pair.cert) != nil {
			continue
		}
		if !s.pair.ended(now) {
			return s
		}
		if over == nil {
			over = s
		}
	}
	return over
}

// other returns the certificate of clients that nothing is for, nil when there is none.
// Whether it is for the name they ask for is no question.
func (ix *index) other(hello *tls.ClientHelloInfo, now time.Time) *served {
	if len(ix.fallback) > 1 {
		anonymous := *hello
		anonymous.ServerName = ""
		if s := choose(ix.fallback, &anonymous, now); s != nil {
			return s
		}
	}
	return firstOf(ix.fallback)
}
