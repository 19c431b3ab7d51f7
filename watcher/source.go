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

// restoredPatience is how long a start waits for a registry of which it has a
// snapshot.
const restoredPatience = 2 * time.Second

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
	guard   *guard
	// begun says that synced is closed: the start need not wait for this source.
	begun bool
	// inherited says that what is known came from another configuration of the source:
	// what its first answers and the first sync do not find is gone without a question.
	// moved says that it is of another registry, and so is what was held.
	inherited, moved bool
	// known is when what is known was so, as long as this source is not synced; zero:
	// nothing is, or not of this registry.
	known     time.Time
	overrides *Overrides
	// failedSince is when the errors in status.Err began.
	failedSince time.Time
}

// entry is a service, the run of the discoverer that sent it last, and when that was.
type entry struct {
	service    *Service
	generation int
	confirmed  time.Time
}

// instances are those of the service, none when there is no service.
func (e entry) instances() []Instance {
	if e.service == nil {
		return nil
	}
	return e.service.Instances
}

func newSource(m *Manager, spec Source) *source {
	ctx, cancel := context.WithCancel(m.ctx)
	return &source{
		Source: spec, m: m, ctx: ctx, cancel: cancel,
		done: make(chan struct{}), synced: make(chan struct{}),
		services: map[string]entry{}, guard: newGuard(spec.Guard),
		status: SourceStatus{Name: spec.Name},
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

// startLimit bounds the wait of a start for this source: with a snapshot to serve
// it is not worth a long one.
func (s *source) startLimit() time.Duration {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if !s.status.Restored.IsZero() {
		return min(restoredPatience, s.StartTimeout)
	}
	return s.StartTimeout
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
	wanted := s.m.named
	s.m.mu.Unlock()
	if w != nil {
		w.Want(wanted)
	}
}

// take merges one update.
func (s *source) take(u Update) {
	s.merge(u)
	if u.Overrides != nil {
		s.m.tellWanted()
	}
}

func (s *source) merge(u Update) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.m.sources[s.Name] != s {
		return
	}
	if u.Service != "" {
		s.replace(u)
	}
	if u.Overrides != nil {
		s.override(u.Overrides, u.Since)
	}
	if u.Report != nil {
		s.report(u.Report)
	}
}

// replace takes in what is said of one service.
func (s *source) replace(u Update) {
	old, had := s.services[u.Service]
	if u.Unknown {
		if had {
			old.generation = s.generation
			s.services[u.Service] = old
		}
		return
	}
	now := time.Now()
	before := old.instances()
	u.Instances = append(u.Instances, unknownOf(before, u.UnknownIn)...)
	slices.SortFunc(u.Instances, compareIDs)
	s.guard.count(before, u.Instances, now)
	suspect := cmp.Or(u.Suspect, s.guard.doubted(now))
	l := lossOf(before, u.Instances, u.Excused)
	if s.inherited && old.generation != s.generation {
		l.reconfigured(s.moved, suspect)
	}
	held := s.guard.judge(u.Service, l, u.Instances, suspect, now)
	s.store(u.Service, append(u.Instances, held...), u.Since, now)
	s.releaseClaimed(u.Service, u.Instances, now)
	if len(l.gone) > 0 && s.guard.shrinks(now) {
		s.doubt(catalogLoss, now)
	}
}

// unknownOf are the instances, held ones excepted, in datacenters that have not told
// theirs: they stay.
func unknownOf(instances []Instance, datacenters []string) (out []Instance) {
	for _, in := range instances {
		if in.Held == nil && slices.Contains(datacenters, in.Datacenter) {
			out = append(out, in)
		}
	}
	return out
}

// store makes the instances those of a service, held ones included.
func (s *source) store(service string, instances []Instance, since, confirmed time.Time) {
	old, had := s.services[service]
	slices.SortFunc(instances, compareIDs)
	switch {
	case len(instances) == 0 && !had:
		return
	case had && slices.EqualFunc(old.service.Instances, instances, sameInstance):
		s.services[service] = entry{old.service, s.generation, confirmed}
		s.m.metrics.Update(s.Name, "unchanged")
		return
	case len(instances) == 0:
		delete(s.services, service)
		s.m.set(Key{Registry: s.Name, Service: service}, nil)
	default:
		svc := &Service{Key: Key{Registry: s.Name, Service: service}, Instances: instances}
		s.services[service] = entry{svc, s.generation, confirmed}
		s.m.set(svc.Key, svc)
	}
	s.noteHeld(service, old.instances(), instances)
	s.noteCauses(service, old.instances(), instances)
	s.m.metrics.Update(s.Name, "changed")
	s.m.touch(s.Name, since)
}

func (s *source) report(r *Report) {
	s.watches += r.Watches
	s.m.metrics.Watches(s.Name, r.Watches)
	if r.Suspect != "" {
		s.doubt(r.Suspect, time.Now())
	}
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
	if r.Synced || r.Answered {
		s.begin()
	}
}

// begin ends the wait of a start for this source.
func (s *source) begin() {
	if !s.begun {
		s.begun = true
		close(s.synced)
		s.because(CauseRegistry, "", "registry %s has answered", s.Name)
		s.m.touch(s.Name, time.Time{})
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

// finishSync drops what an earlier run knew and this one did not find, unless that
// is implausible.
func (s *source) finishSync() {
	suspect := ""
	if !s.status.Restored.IsZero() && !s.found() {
		suspect = "nothing that the snapshot knows is listed"
	}
	for name, e := range s.services {
		if e.generation != s.generation {
			s.replace(Update{Service: name, Suspect: suspect})
		}
	}
	s.inherited, s.moved = false, false
	s.status.Synced, s.status.Restored = true, time.Time{}
}

// found says whether this run has found any service.
func (s *source) found() bool {
	for _, e := range s.services {
		if e.generation == s.generation {
			return true
		}
	}
	return false
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
	if !s.status.Restored.IsZero() {
		s.begin() // there is something to serve meanwhile
	}
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

func compareID(in Instance, id string) int { return cmp.Compare(in.ID, id) }

func sameInstance(a, b Instance) bool {
	return a.ID == b.ID && a.Address == b.Address && a.Status == b.Status && a.Cause == b.Cause &&
		a.Weight == b.Weight && a.Created == b.Created &&
		a.Datacenter == b.Datacenter && a.Zone == b.Zone && a.Tier == b.Tier &&
		a.Held == b.Held && a.Problem == b.Problem && sameMesh(a.Mesh, b.Mesh) &&
		slices.Equal(a.Announcements, b.Announcements) && slices.Equal(a.Tags, b.Tags) && maps.Equal(a.Meta, b.Meta)
}

func sameMesh(a, b *Mesh) bool { return a == b || a != nil && b != nil && *a == *b }
