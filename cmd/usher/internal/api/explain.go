package api

import (
	"fmt"
	"strings"
)

// Question is a request to be explained.
type Question struct {
	Method string `json:"method"`
	// URL is absolute; its scheme and port choose the listener unless one is named.
	URL      string              `json:"url"`
	Headers  map[string][]string `json:"headers,omitempty"`
	Listener string              `json:"listener,omitempty"`
	// Client is the address the request would come from; empty: 127.0.0.1.
	Client string `json:"client,omitempty"`
}

// AddHeader adds a field that is given as "Name: value".
func (q *Question) AddHeader(line string) error {
	name, value, found := strings.Cut(line, ":")
	if name = strings.TrimSpace(name); !found || name == "" {
		return fmt.Errorf("header %q is not Name: value", line)
	}
	if q.Headers == nil {
		q.Headers = map[string][]string{}
	}
	q.Headers[name] = append(q.Headers[name], strings.TrimSpace(value))
	return nil
}

// Explanation is why a request would go where it goes. Nothing is sent for it.
type Explanation struct {
	Question Question `json:"question"`
	// Generation is the table it is about; 0: one built offline.
	Generation uint64 `json:"generation"`
	Listener   string `json:"listener"`
	// ListenerWhy says why it is that listener.
	ListenerWhy string `json:"listener_why"`
	// Outcome is forwarded, answered (by a rule, without a service) or refused; Reason the
	// word that X-Usher-Reason would have, and Status the answer, where usher makes it.
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty"`
	Status  int    `json:"status,omitempty"`
	// Why says more of the outcome, where there is more to say; Location is where a redirect
	// leads.
	Why      string `json:"why,omitempty"`
	Location string `json:"location,omitempty"`
	// Tried are the rules that were looked at, in that order; the one that won is last but
	// for what was left untried.
	Tried []Tried `json:"tried"`
	// Route is the rule that won; nil: none did.
	Route *Route `json:"route,omitempty"`
	// Arms are the parts of a split, one of which is drawn; a single one is drawn always.
	Arms []ExplainedArm `json:"arms,omitempty"`
	// Forwarded is what would be asked of the endpoint; nil: none would be asked.
	Forwarded *Forwarded `json:"forwarded,omitempty"`
	// Filters are what is done to the request and the response, in order.
	Filters []string `json:"filters,omitempty"`
	// Policy are the timeouts, retries and limits that apply, by the names that the
	// configuration has for them.
	Policy []Setting `json:"policy,omitempty"`
}

// Tried is one rule that was looked at.
type Tried struct {
	Route string `json:"route"`
	Owner string `json:"owner"`
	// Host and Path are the pattern it was found under.
	Host     string `json:"host"`
	Path     string `json:"path"`
	PathType string `json:"path_type"`
	// Verdict is won, or lost; Why says what did not hold, or why it goes before the others.
	Verdict string `json:"verdict"`
	Why     string `json:"why"`
}

// ExplainedArm is one part of a split: a cluster and its endpoints.
type ExplainedArm struct {
	Weight   float64  `json:"weight"`
	Cluster  string   `json:"cluster"`
	Services []string `json:"services"`
	Balance  string   `json:"balance"`
	// BalanceWhy says what the policy goes by for this request. Certain says that another
	// request like it would have the same endpoint, as long as nothing changes: otherwise it
	// is left to turns or to chance.
	BalanceWhy string `json:"balance_why,omitempty"`
	Certain    bool   `json:"certain"`
	// Panic says that all endpoints are tried for want of healthy ones.
	Panic     bool                `json:"panic"`
	Endpoints []ExplainedEndpoint `json:"endpoints"`
	// Drawn says that it is this arm for this explanation; Chosen is then the index of the
	// endpoint that the picker chose in Endpoints, -1 for none.
	Drawn  bool `json:"drawn"`
	Chosen int  `json:"chosen"`
}

// ExplainedEndpoint is one endpoint and how it stands.
type ExplainedEndpoint struct {
	Service string `json:"service"`
	ID      string `json:"id"`
	Address string `json:"address"`
	// Usable says that the picker may choose it.
	Usable bool `json:"usable"`
	// Would says what becomes of the request there, where that is not that it is forwarded:
	// the endpoint is passed over, or its rule refuses or redirects the client.
	Would string `json:"would,omitempty"`
	// Share is the part of the requests it takes by its weight, in [0, 1].
	Share    float64 `json:"share"`
	Tier     uint8   `json:"tier"`
	Status   string  `json:"status"`
	Cause    string  `json:"cause,omitempty"`
	Held     bool    `json:"held"`
	InFlight int64   `json:"in_flight"`
	Health   *Health `json:"health,omitempty"`
}

// Forwarded is what an endpoint would be asked.
type Forwarded struct {
	Endpoint string              `json:"endpoint"`
	Protocol string              `json:"protocol"`
	Method   string              `json:"method"`
	Target   string              `json:"target"`
	Host     string              `json:"host"`
	Headers  map[string][]string `json:"headers"`
}
