package api

import "time"

// Registry is what is known of one registry.
type Registry struct {
	Name        string     `json:"name"`
	State       string     `json:"state"`
	Synced      bool       `json:"synced"`
	Contact     string     `json:"contact,omitempty"`
	LastContact *time.Time `json:"last_contact,omitempty"`
	// Snapshot is when the snapshot was taken that is served until the first sync.
	Snapshot *time.Time `json:"snapshot,omitempty"`
	Error    string     `json:"error,omitempty"`
	Doubt    string     `json:"doubt,omitempty"`
	Seen     int        `json:"services_seen"`
	Watched  int        `json:"services_watched"`
	Held     int        `json:"held_instances"`
}

// Service is one service and whether it is routed.
type Service struct {
	Name     string `json:"name"`
	Registry string `json:"registry"`
	Routed   bool   `json:"routed"`
	// Reason says why it is not routed.
	Reason string `json:"reason,omitempty"`
	// Confirmed is when the registry last said that this is how it is, Age how many
	// seconds ago that was.
	Confirmed time.Time  `json:"confirmed"`
	Age       float64    `json:"age_seconds"`
	Instances []Instance `json:"instances"`
	Hold      *Hold      `json:"hold,omitempty"`
	// Totals are the figures of its traffic; nil where only the list was asked for.
	Totals *Totals `json:"totals,omitempty"`
	// Routes are the IDs of the routes that lead to it.
	Routes []string `json:"routes,omitempty"`
}

// Instance is one instance of a service.
type Instance struct {
	ID         string  `json:"id"`
	Address    string  `json:"address"`
	Status     string  `json:"status"`
	Cause      string  `json:"cause,omitempty"`
	Weight     float64 `json:"weight"`
	Datacenter string  `json:"datacenter,omitempty"`
	Zone       string  `json:"zone,omitempty"`
	Tier       uint8   `json:"tier"`
	// Held says that the registry no longer lists it.
	Held bool `json:"held"`
	// InFlight is how many requests it is serving, Latency how long its responses take to
	// begin, in seconds; 0: not known.
	InFlight int64   `json:"in_flight"`
	Latency  float64 `json:"latency_seconds,omitempty"`
	// Health is how it stands in the table in use; nil: it is not routed.
	Health *Health `json:"health,omitempty"`
}

// Health is how an instance stands by all that usher knows.
type Health struct {
	State string    `json:"state"`
	Cause string    `json:"cause"`
	Since time.Time `json:"since"`
	// EffectiveWeight is what it counts among its peers now.
	EffectiveWeight float64 `json:"effective_weight"`
	// EjectedUntil is when its ejection ends; Ejections is how many count so far.
	EjectedUntil *time.Time `json:"ejected_until,omitempty"`
	Ejections    int        `json:"ejections"`
	// Panic says that all endpoints of a route of its are tried, whatever their state.
	Panic bool   `json:"panic"`
	Probe *Probe `json:"probe,omitempty"`
	// Disagreement says that the registry (status) and the probes (probe.verdict) say
	// different things.
	Disagreement bool `json:"disagreement"`
}

// Probe is what the probes of an instance say.
type Probe struct {
	// Verdict is up or down; Result is the last probe's, pass or fail.
	Verdict string    `json:"verdict"`
	Result  string    `json:"result"`
	Error   string    `json:"error,omitempty"`
	At      time.Time `json:"at"`
	Took    float64   `json:"took_seconds"`
}

// Hold is why instances are kept that the registry no longer lists.
type Hold struct {
	Instances int       `json:"instances"`
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason"`
	// Quorum is how many listed instances must be usable for the held ones to be spared.
	Quorum int `json:"quorum"`
}

// Routes are the routes in use, the rules that are not served, and the claims that
// others outrank.
type Routes struct {
	Version   uint64     `json:"version"`
	Routes    []Route    `json:"routes"`
	Refused   []Refusal  `json:"refused"`
	Notices   []Refusal  `json:"notices"`
	Conflicts []Conflict `json:"conflicts"`
}

// Route is one route.
type Route struct {
	ID        string   `json:"id"`
	Source    string   `json:"source"`
	Owner     string   `json:"owner"`
	Protocol  string   `json:"protocol"`
	Hosts     []string `json:"hosts"`
	Path      string   `json:"path"`
	PathType  string   `json:"path_type"`
	Listeners []string `json:"listeners,omitempty"`
	Services  []string `json:"services"`
	// Conditions are what a request must be beside host and path: "method GET, POST",
	// "header X-Beta: 1".
	Conditions []string `json:"conditions,omitempty"`
	Priority   int      `json:"priority,omitempty"`
	// Action is what is done with a request: "to orders", "to orders 95 %, orders-v2 5 %",
	// "redirect 301 to https://…", "respond 200".
	Action string `json:"action"`
	// Usable of Endpoints may be sent requests now.
	Usable    int `json:"usable"`
	Endpoints int `json:"endpoints"`
	// Conflicts is how many claims of the same match this one outranks.
	Conflicts int `json:"conflicts,omitempty"`
}

// Refusal is a rule that is not served, or not as it may be meant.
type Refusal struct {
	Service   string `json:"service,omitempty"`
	Registry  string `json:"registry,omitempty"`
	Instance  string `json:"instance,omitempty"`
	Where     string `json:"where"`
	Reason    string `json:"reason"`
	NotServed bool   `json:"not_served,omitempty"`
}

// Conflict is a claim of a match that another one outranks.
type Conflict struct {
	Match  string `json:"match"`
	Winner string `json:"winner"`
	Loser  string `json:"loser"`
}
