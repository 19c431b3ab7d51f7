package api

// Catalog is where each service can be reached, as far as usher knows: what the registries
// say, corrected by what probes and requests met. It is for clients that go there by
// themselves.
type Catalog struct {
	Services []CatalogService `json:"services"`
}

// CatalogService is one service, whether it is routed or not.
type CatalogService struct {
	Name      string            `json:"name"`
	Registry  string            `json:"registry"`
	Routed    bool              `json:"routed"`
	Instances []CatalogInstance `json:"instances"`
}

// CatalogInstance is one instance and whether it may be sent requests.
type CatalogInstance struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	// Usable says that requests may be sent to it now.
	Usable bool `json:"usable"`
	// Weight is what it counts now among the usable instances of the service.
	Weight float64 `json:"weight"`
	// Status is the registry's word, State usher's; of what is not routed there is no other
	// than the registry's, and State is unrouted.
	Status     string            `json:"status"`
	State      string            `json:"state"`
	Datacenter string            `json:"datacenter,omitempty"`
	Zone       string            `json:"zone,omitempty"`
	Tier       uint8             `json:"tier"`
	Held       bool              `json:"held"`
	Tags       []string          `json:"tags,omitempty"`
	Meta       map[string]string `json:"meta,omitempty"`
}

// TargetGroup is one instance as Prometheus discovers it over HTTP (http_sd).
type TargetGroup struct {
	Targets []string `json:"targets"`
	// Labels are those of the instance, named __meta_usher_….
	Labels map[string]string `json:"labels"`
}
