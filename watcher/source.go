package watcher

import (
	"cmp"
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// FirstPause is how long to wait after a first failure, maxPause the longest. Trying
// again never ends.
const (
	FirstPause = 100 * time.Millisecond
	maxPause   = 10 * time.Second
)

// source is one running registry.
type source struct {
	Source
	m      *Manager
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
	synced chan struct{}

	// Guarded by m.mu.
	services   map[string]entry
	generation int
	wanter     Wanter
	status     SourceStatus
	// watches are those the running discoverer told of.
	watches int
	// failedSince is when the errors in status.Err began.
	failedSince time.Time
}

// entry is a service and the run of the discoverer that sent it last.
type entry struct {
	service    *Service
	generation int
}

func newSource(m *Manager, spec Source) *source {
	ctx, cancel := context.WithCancel(m.ctx)
	return &source{
		Source: spec, m: m, ctx: ctx, cancel: cancel,
		done: make(chan struct{}), synced: make(chan struct{}),
		services: map[string]entry{},
		status:   SourceStatus{Name: spec.Name},
	}
}

func (s *source) start() {
	s.m.metrics.Track(s.Name)
	go func() {
		defer close(s.done)
		s.run()
	}()
}

func (s *source) stop() {
	s.cancel()
	<-s.done
}

// waitSynced waits at most limit for the first full answer.
func (s *source) waitSynced(ctx context.Context, limit time.Duration) bool {
	timer := time.NewTimer(max(limit, 0))
	defer timer.Stop()
	select {
	case <-s.synced:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	select {
	case <-s.synced:
		return true
	default:
		return false
	}
}

// want passes the services that the configuration names to the discoverer.
func (s *source) want(services []string) {
	s.m.mu.Lock()
	w := s.wanter
	s.m.mu.Unlock()
	if w != nil {
		w.Want(services)
	}
}

// run keeps a discoverer running until the source is stopped.
func (s *source) run() {
	pause := FirstPause
	for s.ctx.Err() == nil {
		begin := time.Now()
		err := s.runOnce()
		if s.ctx.Err() != nil {
			return
		}
		if err != nil {
			s.fail("run", err)
		}
		if time.Since(begin) > maxPause {
			pause = FirstPause
		}
		if !Sleep(s.ctx, pause) {
			return
		}
		pause = NextPause(pause)
	}
}

// runOnce runs one discoverer to its end and takes in what it sends.
func (s *source) runOnce() error {
	d, err := s.New()
	if err != nil {
		return err
	}
	s.adopt(d)
	out := make(chan Update, 64)
	end := make(chan error, 1)
	go func() {
		err := d.Run(s.ctx, out)
		close(out)
		end <- err
	}()
	for u := range out {
		s.take(u)
	}
	s.endWatches()
	return <-end
}

// endWatches takes back the watches of a run that is over.
func (s *source) endWatches() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.m.sources[s.Name] == s {
		s.m.metrics.Watches(s.Name, -s.watches)
	}
	s.watches = 0
}

// adopt begins a generation: what this discoverer does not send until it is
// synced was there before and is gone now.
func (s *source) adopt(d Discoverer) {
	w, _ := d.(Wanter)
	s.m.mu.Lock()
	s.generation++
	s.wanter = w
	wanted := s.m.wanted
	s.m.mu.Unlock()
	if w != nil {
		w.Want(wanted)
	}
}

// take merges one update.
func (s *source) take(u Update) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.m.sources[s.Name] != s {
		return
	}
	if u.Service != "" {
		s.replace(u)
	}
	if u.Report != nil {
		s.report(u.Report)
	}
}

func (s *source) replace(u Update) {
	old, had := s.services[u.Service]
	switch {
	case len(u.Instances) == 0 && !had:
		return
	case len(u.Instances) == 0:
		delete(s.services, u.Service)
		s.m.set(Key{Registry: s.Name, Service: u.Service}, nil)
	default:
		slices.SortFunc(u.Instances, compareIDs)
		if had && slices.EqualFunc(old.service.Instances, u.Instances, sameInstance) {
			s.services[u.Service] = entry{old.service, s.generation}
			s.m.metrics.Update(s.Name, "unchanged")
			return
		}
		svc := &Service{Key: Key{Registry: s.Name, Service: u.Service}, Instances: u.Instances}
		s.services[u.Service] = entry{svc, s.generation}
		s.m.set(svc.Key, svc)
	}
	s.m.metrics.Update(s.Name, "changed")
	s.m.touch(s.Name, u.Since)
}

func (s *source) report(r *Report) {
	s.watches += r.Watches
	s.m.metrics.Watches(s.Name, r.Watches)
	if r.Contact != "" {
		s.status.Contact = r.Contact
	}
	switch {
	case r.Err != nil && r.Partial:
		s.m.metrics.Error(s.Name, r.Reason)
		return
	case r.Err != nil:
		s.failed(r.Reason, r.Err)
		return
	case r.Alive:
		s.answered(r)
	}
	if r.Reset {
		s.m.metrics.Reset(s.Name)
	}
	if r.Synced {
		s.finishSync()
	}
}

// answered notes that the registry as a whole is well.
func (s *source) answered(r *Report) {
	if r.Seen != nil {
		s.status.Seen = *r.Seen
	}
	if s.status.Err != nil {
		after := time.Since(s.failedSince).Round(time.Second)
		s.m.log.Info("registry answers again", "registry", s.Name, "after", after)
	}
	s.status.Err = nil
	s.status.LastContact = time.Now()
	s.m.metrics.Answered(s.Name, s.status.LastContact, r.Index)
	if r.Filtered != nil {
		s.m.metrics.Filtered(s.Name, *r.Filtered)
	}
}

// finishSync drops what an earlier run knew and this one did not find.
func (s *source) finishSync() {
	before := len(s.services)
	for name, e := range s.services {
		if e.generation != s.generation {
			delete(s.services, name)
			s.m.set(e.service.Key, nil)
		}
	}
	first := !s.status.Synced
	s.status.Synced = true
	if first {
		close(s.synced)
	}
	if first || before != len(s.services) {
		s.m.touch(s.Name, time.Time{})
	}
}

// fail notes an error of the discoverer as a whole.
func (s *source) fail(reason string, err error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.m.sources[s.Name] == s {
		s.failed(reason, err)
	}
}

// failed notes an error and logs the first of a row. The caller holds m.mu.
func (s *source) failed(reason string, err error) {
	if s.status.Err == nil {
		s.failedSince = time.Now()
		s.m.log.Warn("registry failed; what it said last stays", "registry", s.Name, "reason", reason, "err", err)
	}
	s.status.Err = err
	s.m.metrics.Failed(s.Name, reason)
}

// Sleep waits for d and returns false if ctx ends first.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// NextPause is how long to wait after another failure: decorrelated jitter, between
// FirstPause and three times the last pause, at most ten seconds.
func NextPause(last time.Duration) time.Duration {
	return min(maxPause, FirstPause+rand.N(3*last-FirstPause))
}

func compareIDs(a, b Instance) int { return cmp.Compare(a.ID, b.ID) }

func sameInstance(a, b Instance) bool {
	return a.ID == b.ID && a.Address == b.Address && a.Status == b.Status && a.Cause == b.Cause &&
		a.Weight == b.Weight && a.Created == b.Created &&
		slices.Equal(a.Announcements, b.Announcements) && slices.Equal(a.Tags, b.Tags) && maps.Equal(a.Meta, b.Meta)
}
