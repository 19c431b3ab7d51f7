package watcher

import (
	"context"
	"errors"
	"time"
)

// Discoverer watches one registry.
//
// Run sends an Update for every service it learns of and for every change, until
// ctx ends or it cannot go on; the Manager then starts it again after a pause. It
// must select on ctx in each send and wait, and return only when the goroutines
// it started have ended. On an error it sends a Report and no service: what was
// known stays.
//
// When a Discoverer has sent everything its registry holds, it sends a Report
// with Synced set; services of an earlier run that were not sent again are
// removed then, and only then.
type Discoverer interface {
	Run(ctx context.Context, out chan<- Update) error
}

// Wanter is a Discoverer that watches only what announces a route. Want tells it,
// before Run and at any time from any goroutine, the services it must watch
// though they announce nothing, because the configuration names them. It must not
// block.
type Wanter interface {
	Want(services []string)
}

// Update replaces what is known of one service as a whole, carries a Report, or
// both.
type Update struct {
	// Service is the service's name; empty: the update is only a Report.
	Service string
	// Instances are all the service's instances; none: the service is gone. The
	// receiver owns them.
	Instances []Instance
	// Unknown says that the service could not be read: what is known of it stays.
	Unknown bool
	// UnknownIn are the datacenters of which that is true.
	UnknownIn []string
	// Excused are the IDs of instances that the registry lists though they take no part:
	// that they are missing is no loss.
	Excused []string
	// Suspect says why this answer may leave out what is there; empty: nothing speaks
	// against it.
	Suspect string
	// Overrides replace those of the registry as a whole; nil: unchanged.
	Overrides *Overrides
	// Since is when the registry's answer arrived; the propagation time is counted
	// from it.
	Since time.Time
	// Report is nil when nothing is to be told of the registry itself.
	Report *Report
}

// Report is what a Discoverer tells of its registry.
type Report struct {
	// Answered says that all there is to ask has answered or failed: a start need not
	// wait any longer.
	Answered bool
	// Synced says that everything the registry holds has been sent.
	Synced bool
	// Alive says that the registry as a whole answered: what is known of it is fresh.
	Alive bool
	// Err is the failure that was met, nil for none. Reason is one word for it, for
	// metrics. Partial says that it concerns one service, not the registry.
	Err     error
	Reason  string
	Partial bool
	// Contact describes what was reached: for Consul its leader. Empty: unchanged.
	Contact string
	// Index is the registry's index, 0 when unchanged. Reset says that one went
	// backwards.
	Index uint64
	Reset bool
	// Seen is the number of services the registry holds, watched or not; nil when this
	// answer does not tell. It counts with Alive.
	Seen *int
	// Filtered says whether the registry left something out of its answer for want of
	// rights; nil: this answer does not tell.
	Filtered *bool
	// Suspect says why the registry's answers of the next while may leave out what is
	// there; empty: nothing new.
	Suspect string
	// Watches is the change of the number of running watches.
	Watches int
}

// ErrInvalid marks a registry that cannot be used as configured; the Manager
// reports it and tries again all the same, since what it depends on may appear.
var ErrInvalid = errors.New("invalid registry")
