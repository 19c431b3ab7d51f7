package api

import "time"

// Overview is the state of one usher at a glance.
type Overview struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Now     time.Time `json:"now"`
	Ready   bool      `json:"ready"`
	// NotReady says why it is not.
	NotReady string `json:"not_ready,omitempty"`
	Draining bool   `json:"draining"`
	// Generation is the number of the table in use, Swapped when it was published.
	Generation uint64    `json:"generation"`
	Swapped    time.Time `json:"swapped"`
	// Pinned is the generation whose rules are held; nil: none's are.
	Pinned     *uint64        `json:"pinned,omitempty"`
	Config     ConfigState    `json:"config"`
	Listeners  []Listener     `json:"listeners"`
	Registries []Registry     `json:"registries"`
	Services   ServiceCounts  `json:"services"`
	Instances  InstanceCounts `json:"instances"`
	Routes     int            `json:"routes"`
	Refused    int            `json:"refused_rules"`
	Conflicts  int            `json:"conflicts"`
	Totals     Totals         `json:"totals"`
}

// ConfigState is how the configuration in force came about.
type ConfigState struct {
	// File is where it was read from; empty: there is no file.
	File  string    `json:"file,omitempty"`
	Hash  string    `json:"hash"`
	Taken time.Time `json:"taken"`
	// Refused are the problems of a later one that was refused, and RefusedAt when; none:
	// the last one that was read is in force.
	Refused   []string   `json:"refused,omitempty"`
	RefusedAt *time.Time `json:"refused_at,omitempty"`
}

// Listener is one listener and the address it is bound to.
type Listener struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	Address  string `json:"address"`
}

// ServiceCounts say how many services are seen and routed, and why the others are not.
type ServiceCounts struct {
	Seen   int `json:"seen"`
	Routed int `json:"routed"`
	// Skipped are the services that are not routed by the reason, which has a count and a
	// few of the names.
	Skipped []Skipped `json:"skipped"`
}

// Skipped are the services that are not routed for one reason.
type Skipped struct {
	Reason   string   `json:"reason"`
	Count    int      `json:"count"`
	Examples []string `json:"examples"`
}

// InstanceCounts count the instances by the state that usher has them in.
type InstanceCounts struct {
	Total  int            `json:"total"`
	States map[string]int `json:"states"`
}

// Totals are counters since the start and gauges of now, over all routes or of one
// service. Rates are differences of two of them.
type Totals struct {
	Requests uint64 `json:"requests"`
	// Codes counts the answers by class: 2xx, 3xx, 4xx, 5xx. Errors counts those that usher
	// made itself by their reason.
	Codes         map[string]uint64 `json:"codes"`
	Errors        map[string]uint64 `json:"errors"`
	BytesReceived uint64            `json:"bytes_received"`
	BytesSent     uint64            `json:"bytes_sent"`
	// InFlight and Connections are of now; 0 where they are not told apart by service.
	InFlight    int64 `json:"in_flight"`
	Connections int64 `json:"connections"`
	// Durations is the histogram of the time that requests took, cumulative, the last
	// bucket being all of them.
	Durations []Bucket `json:"durations"`
}

// Bucket counts what took at most Seconds; 0 seconds stands for any time.
type Bucket struct {
	Seconds float64 `json:"le"`
	Count   uint64  `json:"count"`
}

// Traffic is the recent past, one point for each step.
type Traffic struct {
	StepSeconds float64 `json:"step_seconds"`
	Points      []Point `json:"points"`
}

// Point is the traffic of one step.
type Point struct {
	At       time.Time `json:"at"`
	Requests float64   `json:"requests_per_second"`
	// Errors are the answers that usher made itself per second, by reason; Codes all
	// answers by class.
	Errors map[string]float64 `json:"errors_per_second,omitempty"`
	Codes  map[string]float64 `json:"codes_per_second,omitempty"`
	// P50 and P99 are seconds; 0 when there was no request.
	P50         float64 `json:"p50_seconds"`
	P99         float64 `json:"p99_seconds"`
	InFlight    int64   `json:"in_flight"`
	Connections int64   `json:"connections"`
}

// Event is something that happened: a new table, a reload, a change of health.
type Event struct {
	// ID grows by one with each event of this process.
	ID uint64    `json:"id"`
	At time.Time `json:"at"`
	// Kind is generation, reload, health, hold, refused, certificate, pin or drain.
	Kind string `json:"kind"`
	// Level is info, warn or error.
	Level   string `json:"level"`
	Message string `json:"message"`
	// Service, Instance and Generation say what it is about, where it is about one.
	Service    string `json:"service,omitempty"`
	Instance   string `json:"instance,omitempty"`
	Generation uint64 `json:"generation,omitempty"`
}

// Config is the configuration in force, value by value, and where each comes from.
type Config struct {
	ConfigState
	Settings []Setting `json:"settings"`
}

// Setting is one value of the configuration. Secrets are shown as such, and nothing of
// them.
type Setting struct {
	// Path is like listeners[0].address.
	Path  string `json:"path"`
	Value any    `json:"value"`
	// Origin is a position in a file (usher.yaml:3:5), a flag, an environment variable,
	// or default.
	Origin string `json:"origin"`
}

// Certificate is one certificate that listeners show.
type Certificate struct {
	Names     []string  `json:"names"`
	Listeners []string  `json:"listeners,omitempty"`
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Serial    string    `json:"serial"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	// Origin is the file, the KV key, acme or self-signed.
	Origin string `json:"origin"`
	// Problem is why a later version of it was refused; empty: nothing is wrong.
	Problem string `json:"problem,omitempty"`
}
