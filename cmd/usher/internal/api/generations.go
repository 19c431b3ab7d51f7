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

// Generation is one table: when it came into use, why, and what it changed. Tables behind
// it that were the same are a part of it.
type Generation struct {
	Number uint64 `json:"number"`
	// Last is the number of the last table that is a part of it.
	Last uint64    `json:"last"`
	At   time.Time `json:"at"`
	// Took is how long it took to build, in seconds.
	Took   float64 `json:"took_seconds"`
	Causes []Cause `json:"causes"`
	// MoreCauses is how many more there were.
	MoreCauses int `json:"more_causes,omitempty"`
	// Summary is the changes in a few words.
	Summary string `json:"summary"`
	Routes  int    `json:"routes"`
	// Pinned says that its rules are held.
	Pinned bool `json:"pinned,omitempty"`
	// Changes are those from the generation before; left out in lists. MoreChanges is how
	// many more there were.
	Changes     []Change `json:"changes,omitempty"`
	MoreChanges int      `json:"more_changes,omitempty"`
}

// Pinned is what a pin, or its end, came to.
type Pinned struct {
	// Pinned is the generation whose rules are held; nil: none's are.
	Pinned *uint64 `json:"pinned,omitempty"`
	// Generation is the table that is in use for it.
	Generation uint64 `json:"generation"`
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
	// Kind is added, removed or changed; What is settings (of a service, or defaults), route,
	// service, instance, refusal or conflict; of plan also listener and registry.
	Kind string `json:"kind"`
	What string `json:"what"`
	// Name is the route's ID, the service, service/instance, or the refusal or conflict in
	// one line.
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
	// Replayed is how many recent requests were tried against both tables, MovedCount how
	// many of them would go elsewhere; Moved are these, equal ones once.
	Replayed   int     `json:"replayed"`
	MovedCount int     `json:"moved_count"`
	Moved      []Moved `json:"moved"`
	// Notes are what the plan cannot know.
	Notes []string `json:"notes"`
}

// Shadow is a route that another one hides.
type Shadow struct {
	Route string `json:"route"`
	Owner string `json:"owner"`
	By    string `json:"by"`
	// New says that it is not hidden now.
	New bool `json:"new"`
}

// Moved is a request that would go elsewhere.
type Moved struct {
	Request SampledRequest `json:"request"`
	// Count is how many such requests there are among those replayed.
	Count int         `json:"count"`
	From  Destination `json:"from"`
	To    Destination `json:"to"`
}

// Destination is where a request goes: a route and the services behind it, or the reason
// why nowhere.
type Destination struct {
	Route    string   `json:"route,omitempty"`
	Owner    string   `json:"owner,omitempty"`
	Services []string `json:"services,omitempty"`
	// As is what the endpoints are asked for, where that is another thing than the client
	// asked for; several when they are asked for different things.
	As []string `json:"as,omitempty"`
	// Answer is what usher answers by itself: "301 https://…", "200"; empty: it does not.
	Answer string `json:"answer,omitempty"`
	Reason string `json:"reason,omitempty"`
}
