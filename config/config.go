package config

import "time"

// Config is one whole, validated configuration. Load fills it, nothing changes
// it afterwards; every part may be read from any goroutine.
type Config struct {
	Listeners []Listener `yaml:"listeners"`
	// Limits bound the process as a whole.
	Limits    Limits    `yaml:"limits"`
	Admin     Admin     `yaml:"admin"`
	Telemetry Telemetry `yaml:"telemetry"`
	Log       Log       `yaml:"log"`
	AccessLog AccessLog `yaml:"access_log"`
	// StateDir is the folder of the snapshot. Default: $STATE_DIRECTORY, which systemd
	// sets; empty: no snapshot is kept.
	StateDir   string     `yaml:"state_dir" path:"true"`
	Registries []Registry `yaml:"registries"`
	// ACME says which certificates usher obtains by itself.
	ACME      ACME      `yaml:"acme"`
	Discovery Discovery `yaml:"discovery"`
	// History is what usher remembers for its operators.
	History History `yaml:"history"`
	Routes  []Route `yaml:"routes"`
	// SharedRoutes lets services that announce the same source share it. Without it
	// the one with the lowest CreateIndex, then name, owns the source for as long as it
	// announces it.
	SharedRoutes bool `yaml:"shared_routes"`
	// Claims reserve hosts and paths for services.
	Claims   []Claim            `yaml:"claims"`
	Services map[string]Service `yaml:"services"`
	Defaults Defaults           `yaml:"defaults"`
	// ErrorPages are the bodies of the answers that usher makes itself because a request
	// failed: by reason (no_route), status (503) or class (5xx), the first of these that
	// there is. A route's own go before them.
	ErrorPages map[string]Content `yaml:"error_pages"`

	// Files are the files this configuration was read from: the file itself, its
	// includes and the secrets it names. A change of any of them is a reason to
	// reload.
	Files []string `yaml:"-"`
	// Globs are the patterns of its includes: a new file that matches one is a
	// reason to reload, too.
	Globs []string `yaml:"-"`
	// Hash identifies the effective configuration: equal contents, equal hash.
	Hash string `yaml:"-"`

	// origins are where the values come from; see Settings.
	origins origins `yaml:"-"`
}

// History is what usher remembers for its operators, in memory.
type History struct {
	// Generations is how many routing tables are remembered, with what each changed and why.
	// 0: the one in use.
	Generations int `yaml:"generations"`
	// Requests is how many recent requests are, as far as they decide where they go; of many
	// one in so many is, so that they cover minutes. 0: none.
	Requests int `yaml:"requests"`
}

// Discovery is how usher watches itself learning.
type Discovery struct {
	// Canary registers a service of usher's own through each Consul agent and measures
	// how long its changes take until they are routable.
	Canary bool `yaml:"canary"`
	// CanaryInterval is the time between two of its changes.
	CanaryInterval time.Duration `yaml:"canary_interval"`
}

// Claim reserves a host, or a part of one, for services: the rules of others there
// are refused. Where several claims cover a rule the most specific one decides.
type Claim struct {
	// Host is a host name, or *. and a suffix for all hosts below it, or * for every
	// host, or :3306 for the connections to that port. Empty: the rules without a host.
	Host string `yaml:"host"`
	// Path narrows the claim to this path and those below it; / without a host is that
	// very path. Default: /.
	Path string `yaml:"path"`
	// Services are the names that may announce there; a * in one stands for any run
	// of characters.
	Services []string `yaml:"services"`

	Pos Pos `yaml:",pos"`
}

// Listener is one address clients connect to.
type Listener struct {
	// Name identifies the listener in routes, metrics and logs; unique. Default:
	// the address.
	Name string `yaml:"name"`
	// Address is host:port or :port.
	Address string `yaml:"address"`
	// Protocol is http, https, tcp or tls-passthrough.
	Protocol string `yaml:"protocol"`
	// Passthrough lets an https listener pass on, as they are, the connections that a
	// route of tls-passthrough claims by name; it meets the clients of the others itself.
	Passthrough bool `yaml:"passthrough"`
	// Port is what rules like :3306 know a tcp listener by, and :3306 behind a name one of
	// tls-passthrough. 0: the port it is bound to.
	Port int `yaml:"port"`
	// IdleTimeout ends a connection of a tcp or tls-passthrough listener when no byte has
	// come from either side for so long. 0: the TunnelIdleTimeout of the service.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// TLS is how the clients of an https listener are met.
	TLS ListenerTLS `yaml:"tls"`
	// RedirectHTTPS answers everything on an http listener with a redirect to https, but
	// for the challenges of ACME. Nil: nothing.
	RedirectHTTPS *RedirectHTTPS `yaml:"redirect_https"`
	// H2C takes HTTP/2 without TLS, by prior knowledge (RFC 9113 §3.3), on an http listener.
	H2C bool `yaml:"h2c"`
	// HTTP2 bounds what an HTTP/2 connection may ask for.
	HTTP2 HTTP2 `yaml:"http2"`
	// ProxyProtocol says who may tell in front of a connection whom it is for.
	ProxyProtocol ProxyProtocol `yaml:"proxy_protocol"`
	// TrustedProxies are the peers (CIDR, or one address) whose forwarding fields
	// (X-Forwarded-For and its kin) are believed. Empty: nobody's are.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// MaxConnections bounds the connections open at once; more are closed at accept,
	// without an answer. 0: no bound.
	MaxConnections int `yaml:"max_connections"`
	// MaxConnectionsPerClient does so for each client: an IPv4 address, or the /64 of an
	// IPv6 address. Trusted proxies are exempt. 0: no bound.
	MaxConnectionsPerClient int `yaml:"max_connections_per_client"`
	// MaxTunnels bounds the connections that have changed to another protocol, such as
	// WebSocket; more are answered 503. 0: no bound.
	MaxTunnels int `yaml:"max_tunnels"`
	// HeaderTimeout bounds the time from a request's first byte to the end of its
	// head, and the wait for what begins a TLS connection that is passed on.
	HeaderTimeout time.Duration `yaml:"header_timeout"`
	// KeepaliveTimeout bounds the time a connection may stay idle between
	// requests.
	KeepaliveTimeout time.Duration `yaml:"keepalive_timeout"`
	// MaxBodySize bounds a request's body, in bytes. 0: no bound.
	MaxBodySize Size `yaml:"max_body_size"`
	// RequestID gives each request an X-Request-Id, which a trusted proxy may have set,
	// for the endpoint and the client alike.
	RequestID bool `yaml:"request_id"`
	// Via adds a Via field to requests and responses.
	Via bool `yaml:"via"`
	// Forwarded adds the Forwarded field of RFC 7239 beside X-Forwarded-*.
	Forwarded bool `yaml:"forwarded"`
	// UnderscoreHeaders is drop or keep: what becomes of fields with an underscore in
	// their name, which CGI-like upstreams take for those with a hyphen. Empty: drop.
	UnderscoreHeaders string `yaml:"underscore_headers"`
	// DeferAccept leaves a new connection to the kernel until the client has sent
	// something.
	DeferAccept bool `yaml:"defer_accept"`
	// AccessLog has what comes by this listener in the access log, where there is one.
	AccessLog bool `yaml:"access_log"`
	// Debug says whose requests are told how they were routed.
	Debug Debug `yaml:"debug"`

	Pos Pos `yaml:",pos"`
}

// Limits bound what the process takes on, over all listeners.
type Limits struct {
	// MaxConnections bounds the client connections open at once; more are closed at
	// accept, without an answer. 0: three quarters of the descriptors that the process
	// may still open (RLIMIT_NOFILE).
	MaxConnections int `yaml:"max_connections"`
}

// Admin is the operators' listener.
type Admin struct {
	// Address is host:port, or unix:// and the path of a socket; default 127.0.0.1:9900.
	Address string `yaml:"address"`
	// Token is what whoever asks must show, but for /livez and /readyz; token_file reads it
	// from a file. Empty: nobody need show any.
	Token string `yaml:"token" secret:"true"`
	// AllowedHosts are the names, beside the addresses it listens on, by which it may be
	// asked. Others are refused: a page whose own name was made to lead here would use one.
	AllowedHosts []string `yaml:"allowed_hosts"`
	// Pprof serves the profiles of Go's runtime below /debug/pprof/.
	Pprof bool `yaml:"pprof"`
}

// Telemetry is what monitoring sees.
type Telemetry struct {
	// Address is that of a second, read-only listener: /livez, /readyz, /metrics; empty:
	// there is none.
	Address string `yaml:"address"`
	// UpstreamSeries is how many endpoints have series of their own, with the label
	// upstream; those beyond are counted together, as other. 0: none has.
	UpstreamSeries int `yaml:"upstream_series"`
}

// Log says what is logged and how.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level"`
	// Format is text, json or auto: text on a terminal, JSON else.
	Format string `yaml:"format"`
}

// Registry is one source of services. Type chooses which of the pointers is set;
// the keys of that type stand beside the common ones in the file.
type Registry struct {
	// Type is consul or file.
	Type string `yaml:"type"`
	// Name identifies the registry in metrics and logs; unique. Default: its type.
	Name string `yaml:"name"`
	// StartTimeout bounds how long the start waits for the first full answer.
	StartTimeout time.Duration `yaml:"start_timeout"`

	Consul *Consul `yaml:",when type=consul"`
	File   *File   `yaml:",when type=file"`

	Pos Pos `yaml:",pos"`
}

// Consul is a Consul agent to watch.
type Consul struct {
	// Address is host:port, http://…, https://… or unix://…. Default: the standard
	// CONSUL_HTTP_ADDR, else 127.0.0.1:8500.
	Address string `yaml:"address"`
	// Addresses are several agents, tried in order; instead of Address.
	Addresses []string `yaml:"addresses"`
	// Datacenter, Namespace and Partition are passed with every query. Empty: the
	// agent's own.
	Datacenter string `yaml:"datacenter"`
	Namespace  string `yaml:"namespace"`
	Partition  string `yaml:"partition"`
	// Datacenters are several to watch, in order of preference; instead of Datacenter.
	// A service goes to the first one in which it has a usable instance.
	Datacenters []string `yaml:"datacenters"`
	// Zone is usher's own: instances of the same zone are preferred. Default: what the
	// agent's node meta calls usher-zone.
	Zone string `yaml:"zone"`
	// TaggedAddress is the name of the tagged address to use where an instance has it,
	// such as lan or wan. Empty: the service's address.
	TaggedAddress string `yaml:"tagged_address"`
	// Token is the ACL token; token_file reads it from a file. Default:
	// CONSUL_HTTP_TOKEN, CONSUL_HTTP_TOKEN_FILE.
	Token string `yaml:"token" secret:"true"`
	// TokenFile is the file Token was read from, for who wants to read it again;
	// empty when it was given by itself.
	TokenFile string `yaml:"token_file"`
	// TLS is used when Address is https://….
	TLS ConsulTLS `yaml:"tls"`
	// TagPrefix marks the tags that announce routes.
	TagPrefix string `yaml:"tag_prefix"`
	// MaxWatches bounds the services watched by a blocking query of their own over
	// plain HTTP, where each is a connection to the agent; the others share one. Over
	// https there is no bound.
	MaxWatches int `yaml:"max_watches"`
	// MaxStale bounds the age of an answer that a server other than the leader gives.
	// 0: only the leader is asked.
	MaxStale time.Duration `yaml:"max_stale"`
	// Expose says which services take part: announced, those with a rule or the
	// tag or meta usher-enable=true, or all.
	Expose string `yaml:"expose"`
	// DefaultRoute is the rule of services that take part and announce none; {service}
	// stands for the name.
	DefaultRoute string `yaml:"default_route"`
	// ChecksRequired is all, or one: then an instance is in when one of its checks
	// passes, and never without a check, as in Fabio.
	ChecksRequired string `yaml:"checks_required"`
	// KVPrefix is where the key-value store holds routes and settings. Empty: nowhere.
	KVPrefix string `yaml:"kv_prefix"`
	// Guard says when a loss is held.
	Guard Guard `yaml:"guard"`
	// Register registers usher itself.
	Register Register `yaml:"register"`
	// Connect makes usher a member of Consul's service mesh.
	Connect Connect `yaml:"connect"`
}

// Connect is who usher is in Consul's service mesh.
type Connect struct {
	Enabled bool `yaml:"enabled"`
	// Service is the name that usher's certificate is for, the source of its intentions.
	Service string `yaml:"service"`
}

// Guard says when instances that vanish are kept and probed instead of believed
// gone.
type Guard struct {
	Enabled bool `yaml:"enabled"`
	// ServiceShare is the share of a service's instances, CatalogShare that of all
	// instances, that must vanish within Window: more than this is implausible.
	ServiceShare float64       `yaml:"service_share"`
	CatalogShare float64       `yaml:"catalog_share"`
	Window       time.Duration `yaml:"window"`
	// MinEndpoints is the size a service, MinCatalog the number of instances the whole
	// catalog must have had for its share to tell anything.
	MinEndpoints int `yaml:"min_endpoints"`
	MinCatalog   int `yaml:"min_catalog"`
}

// Register is the service that usher registers for itself.
type Register struct {
	// Name is the service's; empty: usher is not registered.
	Name string `yaml:"name"`
	// Address and Port are what others reach usher at. Default: the node's address and
	// the port of the first listener.
	Address string            `yaml:"address"`
	Port    int               `yaml:"port"`
	Tags    []string          `yaml:"tags"`
	Meta    map[string]string `yaml:"meta"`
	// CheckURL is what the agent asks for health. Default: /readyz of the telemetry
	// listener, else of the admin listener.
	CheckURL string `yaml:"check_url"`
	// TTL is how long the agent believes usher alive without a heartbeat.
	TTL time.Duration `yaml:"ttl"`
	// DeregisterAfter is how long it may be critical before the agent forgets it.
	DeregisterAfter time.Duration `yaml:"deregister_after"`
}

// ConsulTLS is how usher speaks TLS to the agent.
type ConsulTLS struct {
	CAFile             string `yaml:"ca_file" path:"true"`
	CertFile           string `yaml:"cert_file" path:"true"`
	KeyFile            string `yaml:"key_file" path:"true"`
	ServerName         string `yaml:"server_name"`
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify"`
}

// File is a file registry: services and their instances in YAML (see Catalog).
type File struct {
	// Path is the catalog file, relative to the file that names it.
	Path string `yaml:"path" path:"true"`
}

// Route overrides or adds one route.
type Route struct {
	// Name identifies the route; unique in the file.
	Name string `yaml:"name"`
	// Protocol is tcp or tls-passthrough: then the route takes connections as a whole; or
	// http, which is what an empty one means. Default: that of the listeners it names.
	Protocol string `yaml:"protocol"`
	// Match says which requests the route takes.
	Match Match `yaml:"match"`
	// Service is where they go: a service's name, or name@registry.
	Service string `yaml:"service"`
	// Split shares them between services by weight; instead of Service.
	Split []Arm `yaml:"split"`
	// Redirect and Respond answer the client without a service; instead of Service.
	// Nil: they do not.
	Redirect *Redirect `yaml:"redirect"`
	Respond  *Respond  `yaml:"respond"`
	// Priority decides between routes that match a request equally well; the
	// higher wins. Default 0.
	Priority int `yaml:"priority"`
	// StripPrefix is taken from the front of the path before it is forwarded; how either
	// is encoded makes no difference.
	StripPrefix string `yaml:"strip_prefix"`
	// PrependPrefix is put in front of the path, after StripPrefix.
	PrependPrefix string `yaml:"prepend_prefix"`
	// Rewrite makes another path by a regular expression; instead of StripPrefix and
	// PrependPrefix. Nil: none.
	Rewrite *PathRewrite `yaml:"rewrite"`
	// Host replaces the Host field sent upstream. Empty: the client's.
	Host string `yaml:"host"`
	// RequestHeaders and ResponseHeaders are what is changed in the heads on their way.
	RequestHeaders  HeaderEdits `yaml:"request_headers"`
	ResponseHeaders HeaderEdits `yaml:"response_headers"`
	// ErrorPages go before those of the whole configuration.
	ErrorPages map[string]Content `yaml:"error_pages"`
	// Override holds settings that go before the service's.
	Override `yaml:",inline"`

	Pos Pos `yaml:",pos"`
}

// Match is the condition of a route; all its parts must hold.
type Match struct {
	// Listeners are the names of the listeners the route appears on. Empty: all.
	Listeners []string `yaml:"listeners"`
	// Hosts are host names; a * in one stands for any run of characters. Empty: any
	// host.
	Hosts []string `yaml:"hosts"`
	// Path is matched as PathType says. Default: /, every path.
	Path string `yaml:"path"`
	// PathType is prefix, iprefix (which ignores case), exact, glob or regex.
	PathType string `yaml:"path_type"`
	// Methods are the request methods taken. Empty: any.
	Methods []string `yaml:"methods"`
	// Headers are fields that must be present with exactly this value.
	Headers map[string]string `yaml:"headers"`
	// HeadersRegex are fields that must be present with a value in which the regular
	// expression (RE2) finds something.
	HeadersRegex map[string]string `yaml:"headers_regex"`
	// Query are parameters that must be present with exactly this value once they are
	// decoded; an empty one stands for any value.
	Query map[string]string `yaml:"query"`
	// GRPC takes calls of gRPC alone; instead of Path, PathType and Methods, which follow
	// from it. Nil: whatever the request is.
	GRPC *GRPCMatch `yaml:"grpc"`
}

// Arm is one part of a split.
type Arm struct {
	Service string `yaml:"service"`
	// Weight is the arm's share relative to the others. Default 1; 0 gets nothing.
	Weight float64 `yaml:"weight"`
}

// Service holds the settings of one service, whichever registry it comes from.
// What the file leaves out is taken from Defaults.
type Service struct {
	Policy `yaml:",inline"`

	Pos Pos `yaml:",pos"`
}

// Policy is how requests to a service are balanced, bounded and repeated.
type Policy struct {
	// Balance is one of Balances.
	Balance string `yaml:"balance"`
	// HashKey is what maglev and ring_hash go by; see ParseHashKey.
	HashKey string `yaml:"hash_key"`
	// RingHash are the settings of ring_hash.
	RingHash RingHash `yaml:"ring_hash"`
	// Sticky brings a client back to the endpoint it was sent to first.
	Sticky Sticky `yaml:"sticky"`
	// ConnectTimeout bounds the making of an upstream connection.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// Timeout bounds the wait for the response header, from the moment the request
	// was sent. 0: no bound.
	Timeout time.Duration `yaml:"timeout"`
	// IdleTimeout bounds the wait between two reads of a body, and for a write to
	// make progress.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// TotalTimeout bounds a whole request. 0: no bound.
	TotalTimeout time.Duration `yaml:"total_timeout"`
	// Upgrades are the protocols, in lower case, that a connection may change to (RFC 9110
	// §7.8); the requests for others are served as ordinary ones. h2c is never among them.
	Upgrades []string `yaml:"upgrades"`
	// TunnelIdleTimeout ends a connection that has changed its protocol when no byte has
	// come from either side for so long.
	TunnelIdleTimeout time.Duration `yaml:"tunnel_idle_timeout"`
	// TunnelDrain is how long such a connection lives on when its endpoint is no longer
	// among the service's. 0: until one of the two ends it.
	TunnelDrain time.Duration `yaml:"tunnel_drain"`
	// Retry says how often a request that is safe to repeat is tried.
	Retry Retry `yaml:"retry"`
	// Hedge sends a request that waits for long to a second endpoint too.
	Hedge Hedge `yaml:"hedge"`
	// Upstream is how the endpoints are spoken to.
	Upstream Upstream `yaml:"upstream"`
	// MaxRequests bounds the requests in flight to the service, MaxEndpointRequests those to
	// each endpoint; those beyond are answered 503 at once. 0: no bound.
	MaxRequests         int `yaml:"max_requests"`
	MaxEndpointRequests int `yaml:"max_endpoint_requests"`
	// AdaptiveConcurrency bounds the requests in flight to the service by how fast it is.
	AdaptiveConcurrency AdaptiveConcurrency `yaml:"adaptive_concurrency"`
	// MaxConnections bounds the connections to each endpoint. 0: no bound.
	MaxConnections int `yaml:"max_connections"`
	// MaxPending bounds the requests that wait for a connection to an endpoint when all
	// of them are in use. 0: none waits.
	MaxPending int `yaml:"max_pending"`
	// PendingTimeout bounds that wait. 0: ConnectTimeout.
	PendingTimeout time.Duration `yaml:"pending_timeout"`
	// Health is how usher judges the endpoints.
	Health `yaml:",inline"`
}

// Upstream is how endpoints are spoken to.
type Upstream struct {
	// Protocol is http or https, of HTTP/1.1; h2c or grpc, of HTTP/2 by prior knowledge; h2 or
	// grpcs, of HTTP/2 over TLS. Empty: what the instance's rule says, http else.
	Protocol string `yaml:"protocol"`
	// TLS is used with https, h2 and grpcs.
	TLS UpstreamTLS `yaml:"tls"`
	// Connect reaches the instances over Consul's service mesh, by its certificates and
	// not by TLS's. Without it those are that ask for it themselves.
	Connect bool `yaml:"connect"`
	// ProxyProtocol is ProxyV1 or ProxyV2: each connection begins with a PROXY header that
	// tells whom it is for, and serves that client alone. Empty: what the instance's rule
	// says.
	ProxyProtocol string `yaml:"proxy_protocol"`
}

// UpstreamTLS is how usher speaks TLS to endpoints.
type UpstreamTLS struct {
	// ServerName is the name an endpoint's certificate must be for. Empty: the host= of
	// its rule, else the host of its address.
	ServerName string `yaml:"server_name"`
	// CAFile holds the authorities to trust. Empty: the system's.
	CAFile string `yaml:"ca_file" path:"true"`
	// CertFile and KeyFile hold the certificate that usher shows. Empty: none.
	CertFile string `yaml:"cert_file" path:"true"`
	KeyFile  string `yaml:"key_file" path:"true"`
	// InsecureSkipVerify takes any certificate.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`

	// PEM are the contents of the files.
	PEM PEM `yaml:"-" hash:"true"`
}

// PEM are the contents of the files of an UpstreamTLS, checked; empty where there is no
// file.
type PEM struct{ CA, Cert, Key string }

// Defaults are the settings of every service that says nothing else, and those
// of the process.
type Defaults struct {
	Policy `yaml:",inline"`

	// DrainDelay is how long usher, told to stop, still accepts connections while
	// it is already unready.
	DrainDelay time.Duration `yaml:"drain_delay"`
	// DrainTimeout bounds how long running requests may take after that.
	DrainTimeout time.Duration `yaml:"drain_timeout"`
}

// Catalog is the content of a file registry.
type Catalog struct {
	Services []CatalogService `yaml:"services"`
}

// CatalogService is one service of a file registry.
type CatalogService struct {
	// Name is unique in the file.
	Name string `yaml:"name"`
	// Routes are announcements in the language of the urlprefix- tags; every
	// instance makes them.
	Routes    []string          `yaml:"routes"`
	Instances []CatalogInstance `yaml:"instances"`

	Pos Pos `yaml:",pos"`
}

// CatalogInstance is one instance of a service of a file registry.
type CatalogInstance struct {
	// ID identifies the instance within its service. Default: its address.
	ID string `yaml:"id"`
	// Address is host:port.
	Address string `yaml:"address"`
	// Weight is the instance's share relative to the others. Default 1; 0 drains.
	Weight float64 `yaml:"weight"`
	// Status is passing, warning, critical or maintenance. Default passing.
	Status string            `yaml:"status"`
	Tags   []string          `yaml:"tags"`
	Meta   map[string]string `yaml:"meta"`

	Pos Pos `yaml:",pos"`
}

// Size is a number of bytes; in the file a plain number or one with KiB, MiB or
// GiB (kB, MB, GB for powers of ten).
type Size int64
