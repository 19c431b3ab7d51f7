package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"usher/cmd/usher/internal/api"
	"usher/config"
	"usher/proxy/core"
	"usher/routetable"
)

// policyOf are the timeouts, retries and limits that apply, each with where it comes from.
func (e *explainer) policyOf(x *core.Explained, l *config.Listener) []api.Setting {
	p := x.Policy()
	if p == nil {
		return nil
	}
	own := (&config.Config{Listeners: []config.Listener{*l}}).Settings()
	known := map[string]config.Setting{}
	for _, s := range e.cfg.Settings() {
		known[s.Path] = s
	}
	var out []api.Setting
	at := fmt.Sprintf("listeners[%d].", slices.IndexFunc(e.cfg.Listeners, func(o config.Listener) bool {
		return o.Name == l.Name
	}))
	for _, s := range own {
		key := strings.TrimPrefix(s.Path, "listeners[0].")
		if key != s.Path && appliesToListener(key, s.Value, x.Stream) {
			out = append(out, settingView(known[at+key], at+key, s.Value))
		}
	}
	for _, s := range (&config.Config{Defaults: config.Defaults{Policy: *p}}).Settings() {
		key := strings.TrimPrefix(s.Path, "defaults.")
		if key != s.Path && applies(key, s.Value, p, x.Stream) {
			out = append(out, e.originOf(known, x, key, s.Value))
		}
	}
	return out
}

// originOf finds where the value of a setting comes from: the route, the service, the
// defaults, or, where it is none of theirs, what a registry overrides.
func (e *explainer) originOf(known map[string]config.Setting, x *core.Explained, key string, value any) api.Setting {
	c := x.Arms[x.Drawn].Arm.Cluster
	service := c.SettingsName()
	bare, _, _ := strings.Cut(service, "@")
	paths := []string{"services." + service, "services." + bare, "defaults"}
	if i := e.indexOf(x.Route); i >= 0 {
		paths = append([]string{fmt.Sprintf("routes[%d]", i)}, paths...)
	}
	for _, path := range paths {
		if s, given := known[path+"."+key]; given && reflect.DeepEqual(s.Value, value) {
			return settingView(s, s.Path, value)
		}
	}
	where := "a registry's override of " + service
	if x.Route.Source == routetable.SourceKV {
		where = x.Route.Owner + ", or " + where
	}
	return api.Setting{Path: "services." + service + "." + key, Value: value, Origin: where}
}

// indexOf is the place of a route in the configuration, -1 when it is not there.
func (e *explainer) indexOf(r *routetable.Route) int {
	if r.Source != routetable.SourceConfig {
		return -1
	}
	return slices.IndexFunc(e.cfg.Routes, func(c config.Route) bool { return c.Pos.String() == r.Owner })
}

func settingView(s config.Setting, path string, value any) api.Setting {
	origin := s.Origin
	if s.Path == "" {
		origin = config.OriginDefault
	}
	return api.Setting{Path: path, Value: value, Origin: origin}
}

// off says that a setting is at the value that means there is none.
func off(value any) bool {
	switch v := value.(type) {
	case string:
		return v == "" || v == "0s" || v == "0"
	case []string:
		return len(v) == 0
	case []int:
		return len(v) == 0
	default:
		return value == nil || reflect.ValueOf(value).IsZero()
	}
}

// applies says whether a setting of a service's has a part in what becomes of a request, or
// of a stream.
func applies(key string, value any, p *config.Policy, stream bool) bool {
	section, _, _ := strings.Cut(key, ".")
	switch section {
	case "balance", "connect_timeout":
		return true
	case "hash_key":
		return p.Hashes()
	case "ring_hash":
		return p.Balance == "ring_hash"
	case "sticky":
		return p.Sticky.Cookie != "" && !off(value) && !stream
	case "timeout", "idle_timeout", "total_timeout", "hedge", "upgrades":
		return !stream && !off(value)
	case "retry":
		return p.Retry.Attempts > 0 && !off(value) || key == "retry.attempts"
	case "adaptive_concurrency":
		return p.AdaptiveConcurrency.Enabled
	case "tunnel_idle_timeout", "tunnel_drain":
		return stream && !off(value)
	case "max_requests", "max_endpoint_requests", "max_connections", "max_pending", "pending_timeout",
		"panic_threshold":
		return !off(value)
	default:
		return false
	}
}

// appliesToListener is applies for the settings of a listener.
func appliesToListener(key string, value any, stream bool) bool {
	switch key {
	case "max_body_size":
		return !stream && !off(value)
	case "header_timeout", "max_connections", "max_connections_per_client", "max_tunnels":
		return !off(value)
	case "idle_timeout":
		return stream && !off(value)
	default:
		return false
	}
}

// filtersOf are what is done to the request and the response, in that order.
func filtersOf(x *core.Explained, l *config.Listener) []string {
	var out []string
	add := func(yes bool, format string, args ...any) {
		if yes {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	r := x.Route
	if r == nil || x.Stream {
		return out
	}
	end := x.Endpoint()
	if end != nil {
		add(end.Access != nil, "lets in by the rule of %s: %s", end.Service.Service, end.Access)
		out = append(out, rewriteWords(rewriteOf(r, end))...)
	}
	out = append(out, editWords("request", r.RequestEdits)...)
	add(l.RequestID, "gives the request a name: X-Request-Id")
	add(l.Forwarded, "adds Forwarded")
	add(l.Via, "adds Via to request and response")
	add(l.TLS.ClientAuth.Header != "", "tells who the client is by its certificate: %s", l.TLS.ClientAuth.Header)
	if len(x.Arms) > 0 {
		arm := &x.Arms[x.Drawn]
		add(arm.Pick.Cookie != "" && (arm.Pick.Home < 0 || arm.Pick.Home != arm.Chosen),
			"sets the cookie %s in the response", arm.Pick.Cookie)
	}
	out = append(out, editWords("response", r.ResponseEdits)...)
	add(l.TLS.HSTS != nil && l.Protocol == config.ProtocolHTTPS, "adds Strict-Transport-Security to the response")
	add(len(r.Pages) > 0, "has error pages of its own")
	return out
}

// rewriteOf is the rewriting that applies at an endpoint; nil: none.
func rewriteOf(r *routetable.Route, e *routetable.Endpoint) *routetable.Rewrite {
	if e.Rewrite != nil {
		return e.Rewrite
	}
	return r.Rewrite
}

func rewriteWords(rw *routetable.Rewrite) (out []string) {
	if rw == nil {
		return nil
	}
	if rw.Pattern != nil {
		out = append(out, fmt.Sprintf("replaces what %s finds in the path by %s", rw.Pattern, rw.To))
	}
	if rw.Strip != "" {
		out = append(out, "strips "+rw.Strip+" from the path")
	}
	if rw.Prepend != "" {
		out = append(out, "puts "+rw.Prepend+" in front of the path")
	}
	switch {
	case rw.HostIsAddress:
		out = append(out, "sets the Host to the endpoint's address")
	case rw.Host != "":
		out = append(out, "sets the Host to "+rw.Host)
	}
	return out
}

func editWords(what string, e *routetable.Edits) (out []string) {
	if e == nil {
		return nil
	}
	set := map[string]bool{}
	for _, f := range e.Fields {
		set[f.Name] = true
	}
	for _, name := range e.Drop {
		if !set[name] {
			out = append(out, "takes "+name+" out of the "+what)
		}
	}
	for _, f := range e.Fields {
		value := f.Value.Expand(func(name string) string { return "$" + name })
		if config.Credential(f.Name) {
			value = config.Redacted
		}
		out = append(out, fmt.Sprintf("sets %s in the %s: %s", f.Name, what, value))
	}
	return out
}
