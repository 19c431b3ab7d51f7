package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
)

// How the agent asks a registered usher for its health.
const (
	checkInterval = 10 * time.Second
	checkTimeout  = 2 * time.Second
)

// Self is the usher that a Registration registers. What the configuration says of
// its address, port, check and meta goes before it.
type Self struct {
	// ID is the service's ID with the agent: the same whenever this usher starts, and no
	// other's; without a slash. Default: the service's name.
	ID string
	// Address is what others reach usher at; empty: the node's.
	Address string
	Port    int
	// CheckURL is what the agent asks for health; empty: it asks nothing and goes by the
	// heartbeat.
	CheckURL string
	Meta     map[string]string
	// Ready says whether usher can take requests, and why, in the words that operators
	// see in Consul; a third of the TTL may pass until they do. Run's goroutine calls it; nil: usher always can.
	Ready func() (ok bool, why string)
}

// Registration keeps usher registered with its agent as a service of its own, with
// two checks: the agent asks for usher's health, and usher sends a heartbeat, so that
// it counts as critical when either cannot reach the other.
//
// Run keeps it; the two steps of a drain, Maintenance and Deregister, are for any
// goroutine. From the first of them on Run registers nothing any more: to register
// again would end the maintenance.
type Registration struct {
	agent *selfAgent
	// service is what is registered, but for the status of the heartbeat's check.
	service api.AgentServiceRegistration
	conf    config.Register
	url     string
	ready   func() (ok bool, why string)
	log     *slog.Logger

	// leaving is why usher drains, nil while it does not.
	leaving atomic.Pointer[string]
	// turn is held during a request that decides whether usher is listed, so that a drain
	// comes after a registration that is under way.
	turn chan struct{}
	// listed says that the agent lists usher, as far as Run knows. It is Run's.
	listed bool
}

// NewRegistration returns the Registration that conf.Register describes. It connects
// to nothing yet. The error is a watcher.ErrInvalid.
func NewRegistration(conf config.Consul, self Self, log *slog.Logger) (*Registration, error) {
	c := conf.Register
	if c.Name == "" || c.TTL <= 0 {
		return nil, fmt.Errorf("%w: register: name %q, ttl %s", watcher.ErrInvalid, c.Name, c.TTL)
	}
	agent, err := newSelfAgent(conf)
	if err != nil {
		return nil, err
	}
	if self.Ready == nil {
		self.Ready = func() (bool, string) { return true, "" }
	}
	meta := map[string]string{}
	maps.Copy(meta, self.Meta)
	maps.Copy(meta, c.Meta)
	id := cmp.Or(self.ID, c.Name)
	return &Registration{
		agent: agent, conf: c, ready: self.Ready, url: cmp.Or(c.CheckURL, self.CheckURL),
		service: api.AgentServiceRegistration{
			ID: id, Name: c.Name, Tags: c.Tags, Meta: meta,
			Address: cmp.Or(c.Address, self.Address), Port: cmp.Or(c.Port, self.Port),
		},
		log:  log.With("service", c.Name, "id", id),
		turn: make(chan struct{}, 1),
	}, nil
}

// Run keeps usher registered until ctx ends, and returns then, within the deadline of
// one request. It may be called once. What fails is tried again for ever; the first
// failure of a row and the recovery are logged. It does not deregister, and a heartbeat
// is sent until it ends: during a drain it ought to run on.
func (r *Registration) Run(ctx context.Context) {
	defer r.agent.closeIdle()
	beat := r.conf.TTL / 3
	tries := attempts{log: r.log, what: "usher's own registration"}
	for {
		err := r.step(ctx)
		if errors.Is(err, errLeft) {
			<-ctx.Done()
		}
		if ctx.Err() != nil {
			return
		}
		pause := beat
		if err != nil {
			pause = min(beat, tries.failed(err)) // a heartbeat must not become rarer
		} else {
			tries.succeeded()
		}
		if !watcher.Sleep(ctx, pause) {
			return
		}
	}
}

var (
	// errForgotten is an agent that lost the registration, because it lost its state or
	// because somebody took it out.
	errForgotten = errors.New("the agent does not list the service")
	// errLeft is a usher that leaves and is not listed: nothing remains to be done.
	errLeft = errors.New("usher has left")
)

// step registers unless that is done already, and sends one heartbeat.
func (r *Registration) step(ctx context.Context) error {
	if !r.listed {
		if err := r.register(ctx); err != nil {
			return err
		}
	}
	err := r.beat(ctx)
	if !notFound(err) {
		return err
	}
	// Not registered at once: where each request reaches another agent this would go
	// round without a pause.
	r.listed = false
	if r.leaving.Load() != nil {
		return errLeft
	}
	return errForgotten
}

// register registers usher; the error is errLeft when it leaves. The request is not
// cut short when ctx ends: the agent could carry it out later, after the
// deregistration.
func (r *Registration) register(ctx context.Context) error {
	release, err := r.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	if r.leaving.Load() != nil {
		return errLeft
	}
	s := r.service
	s.Checks = r.checks()
	if err := r.agent.register(context.WithoutCancel(ctx), &s, plainDeadline); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	r.listed = true
	return nil
}

// checks are those usher is registered with. The heartbeat's begins as usher is, so
// that one that is not ready gets no request; why it is not appears in the catalog
// late, since the agent passes a mere change of the text on after minutes. The agent's
// own check passes until it has asked, which may take an interval.
func (r *Registration) checks() api.AgentServiceChecks {
	status, _ := r.health()
	heartbeat := &api.AgentServiceCheck{
		CheckID: r.beatID(), Name: "usher's heartbeat", TTL: r.conf.TTL.String(), Status: status,
	}
	if r.conf.DeregisterAfter > 0 {
		heartbeat.DeregisterCriticalServiceAfter = r.conf.DeregisterAfter.String()
	}
	checks := api.AgentServiceChecks{heartbeat}
	if r.url != "" {
		checks = append(checks, &api.AgentServiceCheck{
			CheckID: "service:" + r.service.ID + ":ready", Name: "usher is ready", HTTP: r.url,
			Interval: checkInterval.String(), Timeout: checkTimeout.String(), Status: api.HealthPassing,
		})
	}
	return checks
}

// beatID is the ID of the heartbeat's check.
func (r *Registration) beatID() string { return "service:" + r.service.ID + ":heartbeat" }

// beat sends a heartbeat and looks whether usher is still listed.
func (r *Registration) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, plainDeadline)
	defer cancel()
	opts := (&api.QueryOptions{}).WithContext(ctx)
	status, text := r.health()
	if err := r.agent.UpdateTTLOpts(r.beatID(), text, status, opts); err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	if _, _, err := r.agent.Service(r.service.ID, opts); err != nil {
		return fmt.Errorf("look for the service: %w", err)
	}
	return nil
}

// health is the status of the heartbeat and its text. A draining usher is critical:
// its maintenance may have failed, or been ended by a registration that came late.
func (r *Registration) health() (status, text string) {
	if why := r.leaving.Load(); why != nil {
		return api.HealthCritical, "draining: " + *why
	}
	ok, why := r.ready()
	if !ok {
		return api.HealthCritical, why
	}
	return api.HealthPassing, why
}

// Maintenance is a drain's first step: it turns the service's maintenance mode on, so
// that others stop sending. reason is for people. A service that the agent does not
// list gets no requests: that is no error. It ends within the deadline of one request.
func (r *Registration) Maintenance(ctx context.Context, reason string) error {
	return r.leave(ctx, reason, func(q *api.QueryOptions) error {
		return r.agent.EnableServiceMaintenanceOpts(r.service.ID, reason, q)
	})
}

// Deregister is a drain's last step: it takes the service out. That it is out already
// is no error. It ends within the deadline of one request.
func (r *Registration) Deregister(ctx context.Context) error {
	return r.leave(ctx, "deregistered", func(q *api.QueryOptions) error {
		return r.agent.ServiceDeregisterOpts(r.service.ID, q)
	})
}

// leave has Run register no more, and makes a request of the drain.
func (r *Registration) leave(ctx context.Context, why string, request func(*api.QueryOptions) error) error {
	defer r.agent.closeIdle()
	r.leaving.CompareAndSwap(nil, &why)
	ctx, cancel := context.WithTimeout(ctx, plainDeadline)
	defer cancel()
	release, err := r.take(ctx)
	if err != nil {
		return fmt.Errorf("drain %s: wait for a registration under way: %w", r.service.ID, err)
	}
	defer release()
	if err := request((&api.QueryOptions{}).WithContext(ctx)); err != nil && !notFound(err) {
		return fmt.Errorf("drain %s: %w", r.service.ID, err)
	}
	return nil
}

// take waits for the turn; release gives it back.
func (r *Registration) take(ctx context.Context) (release func(), err error) {
	select {
	case r.turn <- struct{}{}:
		return func() { <-r.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// selfAgent is an agent as usher registers services of its own with it.
type selfAgent struct {
	*api.Agent
	// closeIdle closes the connections that nothing uses.
	closeIdle func()
}

func newSelfAgent(conf config.Consul) (*selfAgent, error) {
	conf.Datacenter = "" // an agent registers in its own
	// A service belongs to the agent that registered it: another one does not know it.
	conf.Address, conf.Addresses = addresses(conf)[0], nil
	client, transport, err := newClient(conf)
	if err != nil {
		return nil, err
	}
	return &selfAgent{client.Agent(), transport.CloseIdleConnections}, nil
}

// register registers a service, or replaces it and all its checks, within limit.
func (a *selfAgent) register(ctx context.Context, s *api.AgentServiceRegistration, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return a.ServiceRegisterOpts(s, api.ServiceRegisterOpts{ReplaceExistingChecks: true}.WithContext(ctx))
}

// notFound says whether the agent answered that it knows no such service or check.
func notFound(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusNotFound
}

// attempts follows what is tried again for ever: it logs the first failure of a row,
// the end of the row and the first success, and says how long to pause.
type attempts struct {
	log *slog.Logger
	// what is tried, for the log.
	what string
	// pause is the last one, 0 when the last try succeeded; since is when the row began.
	pause time.Duration
	since time.Time
	// worked says that a try has succeeded.
	worked bool
}

// failed takes note of a failure and returns the pause before the next try.
func (a *attempts) failed(err error) time.Duration {
	if a.pause > 0 {
		a.pause = watcher.NextPause(a.pause)
		return a.pause
	}
	a.pause, a.since = watcher.FirstPause, time.Now()
	a.log.Warn(a.what+" failed; it is tried again", "reason", reason(err), "err", err)
	return a.pause
}

// succeeded takes note of a success.
func (a *attempts) succeeded() {
	switch {
	case a.pause > 0:
		a.log.Info(a.what+" works now", "after", time.Since(a.since).Round(time.Millisecond))
	case !a.worked:
		a.log.Info(a.what + " works")
	}
	a.pause, a.worked = 0, true
}
