package certs

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// place is where certificates come from.
type place struct {
	kind
	// path is a certificate's file, a folder, or a prefix of keys; key is the file of the
	// key.
	path, key string
}

type kind uint8

const (
	file kind = iota
	folder
	keys
)

// source is what one place has said. The Manager's lock guards it.
type source struct {
	place place
	log   *slog.Logger
	items map[string]*item
	// failed is why the place cannot be read; empty: it can.
	failed string
	// files is what was last read, for a file or folder.
	files files
	// cancel ends the watch of a key-value store; answered is closed when it first said
	// something.
	cancel   context.CancelFunc
	answered chan struct{}
}

// item is one certificate of a source.
type item struct {
	// label says where it was read last.
	label string
	// sum is that of what was read last.
	sum [sha256.Size]byte
	// pair is the last good version; nil: there was none.
	pair *pair
	// refused is why what was read last cannot be used; empty: it can.
	refused string
}

// raw is what a place says of one certificate.
type raw struct {
	label     string
	cert, key []byte
	// err is why it cannot be read; same says that nothing has changed since the last time.
	err  error
	same bool
}

func newSource(p place, log *slog.Logger) *source {
	return &source{
		place: p, log: log, items: map[string]*item{}, files: files{}, answered: make(chan struct{}),
	}
}

// take takes in everything that the place has, by name, and says whether there is anything
// new to show. What is not among it is gone.
func (s *source) take(all map[string]raw, now time.Time) (changed bool) {
	if s.failed != "" {
		s.log.Info("certificates can be read again", "source", s.place.path)
		s.failed, changed = "", true
	}
	for name, it := range s.items {
		if _, stays := all[name]; stays {
			continue
		}
		delete(s.items, name)
		changed = true
		if it.pair != nil {
			s.log.Info("certificate removed", "cert", it.pair.label)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if r := all[name]; !r.same && s.takeOne(name, r, now) {
			changed = true
		}
	}
	return changed
}

// takeOne takes in one certificate. What cannot be used leaves the last good version.
func (s *source) takeOne(name string, r raw, now time.Time) (changed bool) {
	it := s.items[name]
	if it == nil {
		it = &item{}
		s.items[name] = it
	}
	it.label = r.label
	sum := r.sum()
	if sum == it.sum {
		return false
	}
	it.sum = sum
	var p *pair
	err := r.err
	if err == nil {
		p, err = parsePair(name, r.label, r.cert, r.key)
	}
	if err != nil {
		s.refuse(it, r.label, err)
		return true
	}
	it.pair, it.refused = p, ""
	s.tell(p, now)
	return true
}

func (s *source) refuse(it *item, label string, err error) {
	if it.refused != err.Error() {
		s.log.Warn("certificate refused; its last good version stays", "cert", label, "reason", err,
			"served", it.pair != nil)
	}
	it.refused = err.Error()
}

// tell logs a certificate that is in use from now on.
func (s *source) tell(p *pair, now time.Time) {
	leaf := p.cert.Leaf
	level, message := slog.LevelInfo, "certificate loaded"
	switch {
	case p.ended(now):
		level, message = slog.LevelWarn, "certificate loaded, which has ended"
	case now.Before(leaf.NotBefore):
		level, message = slog.LevelWarn, "certificate loaded, which has not begun"
	}
	s.log.Log(context.Background(), level, message, "cert", p.label, "names", p.names,
		"not_before", leaf.NotBefore, "not_after", leaf.NotAfter)
}

// fail notes that the place cannot be read. Nothing it said is forgotten.
func (s *source) fail(err error) (changed bool) {
	if s.failed == err.Error() {
		return false
	}
	s.failed = err.Error()
	s.log.Warn("certificates cannot be read; those that were stay", "source", s.place.path, "err", err)
	return true
}

// pairs are the certificates of the source, by name.
func (s *source) pairs() []*pair {
	out := make([]*pair, 0, len(s.items))
	for _, name := range slices.Sorted(maps.Keys(s.items)) {
		if p := s.items[name].pair; p != nil {
			out = append(out, p)
		}
	}
	return out
}

// refused is how many certificates of the source cannot be used.
func (s *source) refused() (n int) {
	for _, it := range s.items {
		if it.refused != "" {
			n++
		}
	}
	if s.failed != "" {
		n++
	}
	return n
}

// sum identifies what a place says. It is never that of a new item.
func (r *raw) sum() (out [sha256.Size]byte) {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(r.label), r.cert, r.key} {
		sum := sha256.Sum256(part)
		_, _ = h.Write(sum[:]) // never fails
	}
	if r.err != nil {
		_, _ = h.Write([]byte(r.err.Error()))
	}
	h.Sum(out[:0])
	return out
}

// parts are the files or keys of one name.
type parts struct{ crt, pem, key, bare string }

// choose returns where the certificate and where its key is.
func (p parts) choose() (cert, key string, err error) {
	for _, s := range []string{p.crt, p.pem, p.bare} {
		if s != "" && cert == "" {
			cert = s
		}
	}
	switch {
	case cert == "":
		return p.key, "", errors.New("there is no certificate beside the key")
	case p.key == "" && p.crt != "" && p.pem != "":
		return p.pem, p.pem, nil // the other one may be the chain alone
	case p.key == "":
		return cert, cert, nil
	default:
		return cert, p.key, nil
	}
}
