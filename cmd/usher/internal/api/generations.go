package api

import "time"

// Generations are the tables that are remembered, the newest first.
type Generations struct {
	// Current is the number of the table in use, Pinned that of the one whose rules are
	// held; nil: none's are.
	Current     uint64       `json:"current"`
	Pinned      *uint64      `json:"pinned,omitempty"`
	Generations []Generation `json:"generations"`
}

// Generation is one table: when it came into use, why, and what it changed.
type Generation struct {
	Number uint64    `json:"number"`
	At     time.Time `json:"at"`
	// Took is how long it took to build, in seconds.
	Took   float64 `json:"took_seconds"`
	Causes []Cause `json:"causes"`
	// Summary is the changes in a few words.
	Summary string `json:"summary"`
	Routes  int    `json:"routes"`
	Pinned  bool   `json:"pinned,omitempty"`
	// Changes are those from the generation before; left out in lists.
	Changes []Change `json:"changes,omitempty"`
}

// Cause is one thing that made usher build a table.
type Cause struct {
	At time.Time `json:"at"`
	// Kind is registry, check, hold, overrides, reload, start, pin or unpin.
	Kind     string `json:"kind"`
	Registry string `json:"registry,omitempty"`
	Service  string `json:"service,omitempty"`
	// Detail says what happened: "instance web-3 registered", "web-2: check service:web-2 is
	// critical".
	Detail string `json:"detail"`
}

// Diff is what is different in generation To from From.
type Diff struct {
	From    uint64   `json:"from"`
	To      uint64   `json:"to"`
	Changes []Change `json:"changes"`
}

// Change is one difference between two tables.
type Change struct {
	// Kind is added, removed or changed; What is route, service, instance, refusal or
	// conflict.
	Kind string `json:"kind"`
	What string `json:"what"`
	// Name is the route's ID, the service, or service/instance.
	Name string `json:"name"`
	// Fields are what changed, with the value before and after; none where it is new or gone.
	Fields []FieldChange `json:"fields,omitempty"`
	// Owner is whose rule it is, of a route.
	Owner string `json:"owner,omitempty"`
}

// FieldChange is one value before and after.
type FieldChange struct {
	Field string `json:"field"`
	From  string `json:"from"`
	To    string `json:"to"`
}

// SampledRequest is a recent request as far as it decides where it goes. What is secret in
// it is redacted.
type SampledRequest struct {
	At       time.Time           `json:"at"`
	Listener string              `json:"listener"`
	Method   string              `json:"method"`
	Host     string              `json:"host"`
	Target   string              `json:"target"`
	Headers  map[string][]string `json:"headers,omitempty"`
	GRPC     bool                `json:"grpc,omitempty"`
	// Route and Service are where it went; empty: nowhere.
	Route      string `json:"route,omitempty"`
	Service    string `json:"service,omitempty"`
	Status     int    `json:"status"`
	Reason     string `json:"reason,omitempty"`
	Generation uint64 `json:"generation"`
}

// Plan is what another configuration would change.
type Plan struct {
	Changes []Change `json:"changes"`
	// Shadowed are routes that no request can reach any more, and by what.
	Shadowed  []Shadow   `json:"shadowed"`
	Refused   []Refusal  `json:"refused"`
	Conflicts []Conflict `json:"conflicts"`
	// Replayed is how many recent requests were tried against both tables, Moved are those
	// that would go elsewhere.
	Replayed int     `json:"replayed"`
	Moved    []Moved `json:"moved"`
}

// Shadow is a route that another one hides.
type Shadow struct {
	Route string `json:"route"`
	Owner string `json:"owner"`
	By    string `json:"by"`
}

// Moved is a request that would go elsewhere.
type Moved struct {
	Request SampledRequest `json:"request"`
	From    Destination    `json:"from"`
	To      Destination    `json:"to"`
}

// Destination is where a request goes: a route and the services behind it, or the reason
// why nowhere.
type Destination struct {
	Route    string   `json:"route,omitempty"`
	Owner    string   `json:"owner,omitempty"`
	Services []string `json:"services,omitempty"`
	Reason   string   `json:"reason,omitempty"`
}
