package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"usher/watcher"
)

// scanEvery is the least time between two scans for what is due, so that many names
// and services cost few of them.
const scanEvery = 20 * time.Millisecond

// errFamily is an answer for one family of addresses alone, of a name that has had
// addresses of both.
var errFamily = errors.New("the other family of addresses was not answered")

// service is a service with instances at names. The goroutine of Run alone touches it.
type service struct {
	// update is the last of the inner Run, without what is not the service's.
	update watcher.Update
	names  []*name
	// wait numbers the waits for new names in their order, 0: it is not waiting. until
	// is when it is sent all the same.
	wait  uint64
	until time.Time
	// sent are the IDs of instances at names, as they were sent last.
	sent []sent
}

// ready says that each name has been asked for.
func (s *service) ready() bool {
	return !slices.ContainsFunc(s.names, func(n *name) bool { return !n.asked })
}

// milestone is what a report said of everything before it, kept back while services
// wait.
type milestone struct {
	report watcher.Report
	// after is the number of the last wait that began before it, waiting how many of
	// these are not over.
	after   uint64
	waiting int
}

// run is one Run. Its methods are called from one goroutine.
type run struct {
	ctx      context.Context
	opts     Options
	out      chan<- watcher.Update
	names    *names
	services map[string]*service
	// waits is the number of the last wait, waiting how many are not over.
	waits      uint64
	waiting    int
	milestones []*milestone
	// timer fires when something is due, at next; zero: nothing is.
	timer *time.Timer
	next  time.Time
}

func newRun(ctx context.Context, d *discoverer, out chan<- watcher.Update) *run {
	return &run{
		ctx: ctx, opts: d.opts, out: out,
		names: newNames(ctx, d.opts, d.look), services: map[string]*service{},
	}
}

// loop runs until ctx ends, or the inner Run did and nothing waits any more.
func (r *run) loop(in <-chan watcher.Update) {
	r.timer = time.NewTimer(time.Hour) // scanAt sets it; a scan too many does no harm
	defer r.timer.Stop()
	for r.ctx.Err() == nil && (in != nil || r.waiting > 0) {
		select {
		case u, ok := <-in:
			if !ok {
				in = nil
				continue
			}
			r.take(u)
		case d := <-r.names.done:
			r.resolved(d)
		case now := <-r.timer.C:
			r.scan(now)
		case <-r.ctx.Done():
			return
		}
		r.names.pump()
		r.passMilestones()
	}
}

// send sends an update; after the end of ctx it may do nothing.
func (r *run) send(u watcher.Update) {
	select {
	case r.out <- u:
	case <-r.ctx.Done():
	}
}

// take takes in an update of the inner Run.
func (r *run) take(u watcher.Update) {
	s := r.services[u.Service]
	hosts := hostsOf(u.Instances)
	if u.Service == "" || u.Unknown || (s == nil && hosts == nil) {
		r.pass(u)
		return
	}
	if s == nil {
		s = &service{}
		r.services[u.Service] = s
	}
	own := u
	own.Report, own.Overrides = nil, nil
	s.update = own
	r.use(s, hosts)
	if !s.ready() {
		r.wait(s)
		r.passRest(u)
		return
	}
	r.endWait(s)
	own = r.expanded(s)
	own.Report, own.Overrides = u.Report, u.Overrides
	if hosts == nil {
		delete(r.services, u.Service)
	}
	r.pass(own)
}

// use makes these names the ones a service uses.
func (r *run) use(s *service, hosts []string) {
	for _, n := range s.names {
		delete(n.users, s)
	}
	s.names = s.names[:0]
	for _, host := range hosts {
		n := r.names.find(host)
		n.users[s] = true
		s.names = append(s.names, n)
	}
}

// expanded returns a service's update with addresses in place of names, and notes
// that it is sent.
func (r *run) expanded(s *service) watcher.Update {
	u := s.update
	list, ids := expand(u.Instances, r.names.addrs)
	u.Instances = list
	if more := excuse(s.sent, ids, &s.update); more != nil {
		u.Excused = slices.Concat(u.Excused, more)
	}
	s.sent = ids
	return u
}

// wait makes a service wait for its new names. One that waits already is not given
// more time: a flood of updates must not hold it back for ever.
func (r *run) wait(s *service) {
	if s.wait != 0 {
		return
	}
	r.waits++
	r.waiting++
	s.wait, s.until = r.waits, time.Now().Add(r.opts.Deadline)
	r.scanAt(s.until)
}

// endWait notes that a service, if it waits, is about to be sent.
func (r *run) endWait(s *service) {
	if s.wait == 0 {
		return
	}
	r.waiting--
	for _, m := range r.milestones {
		if s.wait <= m.after {
			m.waiting--
		}
	}
	s.wait = 0
}

// resolved takes in a lookup that has ended.
func (r *run) resolved(d done) {
	now := time.Now()
	changed, failure := r.names.end(d, now)
	r.scanAt(d.due)
	if failure != nil {
		r.send(watcher.Update{Report: reportOf(d.host, failure)})
	}
	for s := range d.users {
		switch {
		case s.wait != 0 && s.ready():
			r.endWait(s)
			r.send(r.expanded(s))
		case s.wait == 0 && changed:
			s.update.Since = now
			r.send(r.expanded(s))
		}
	}
}

// reportOf is the report of a name that could not be resolved.
func reportOf(host string, err error) *watcher.Report {
	reason := "dns_failed"
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsTimeout {
		reason = "dns_timeout"
	}
	return &watcher.Report{Err: fmt.Errorf("resolve %q: %w", host, err), Reason: reason, Partial: true}
}

// scanAt has the scan for what is due run at t, or before.
func (r *run) scanAt(t time.Time) {
	if !r.next.IsZero() && !t.Before(r.next) {
		return
	}
	r.next = t
	r.timer.Reset(max(time.Until(t), scanEvery))
}

// scan sends the services that have waited long enough and queues the names that
// are due.
func (r *run) scan(now time.Time) {
	var next time.Time
	for _, s := range r.services {
		switch {
		case s.wait == 0:
		case now.Before(s.until):
			next = earlier(next, s.until)
		default:
			r.endWait(s)
			r.send(r.expanded(s))
		}
	}
	next = earlier(next, r.names.refresh(now))
	r.next = time.Time{}
	if !next.IsZero() {
		r.scanAt(next)
	}
}

// pass passes an update on, at once but for a milestone that its report may hold.
func (r *run) pass(u watcher.Update) {
	if u.Report != nil {
		u.Report = r.holdMilestone(u.Report)
		if u.Report == nil && u.Service == "" && u.Overrides == nil {
			return
		}
	}
	r.send(u)
}

// passRest passes on what is in an update besides its service.
func (r *run) passRest(u watcher.Update) {
	if u.Report != nil || u.Overrides != nil {
		r.pass(watcher.Update{Report: u.Report, Overrides: u.Overrides, Since: u.Since})
	}
}

// holdMilestone keeps back what a report says of everything before it, if services
// wait, and returns the rest of it; nil: nothing is left.
func (r *run) holdMilestone(rep *watcher.Report) *watcher.Report {
	if (!rep.Synced && !rep.Answered) || (r.waiting == 0 && len(r.milestones) == 0) {
		return rep
	}
	if rep.Err != nil {
		return rep // an error's other fields count for nothing
	}
	r.milestones = append(r.milestones, &milestone{
		report:  watcher.Report{Synced: rep.Synced, Answered: rep.Answered},
		after:   r.waits,
		waiting: r.waiting,
	})
	rest := *rep
	rest.Synced, rest.Answered = false, false
	if rest == (watcher.Report{}) {
		return nil
	}
	return &rest
}

// passMilestones passes on, in their order, those for which nothing waits any more.
func (r *run) passMilestones() {
	for len(r.milestones) > 0 && r.milestones[0].waiting == 0 {
		r.send(watcher.Update{Report: &r.milestones[0].report})
		r.milestones = r.milestones[1:]
	}
}
