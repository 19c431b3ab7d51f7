package config

import (
	"path/filepath"
	"strings"
	"time"
)

// PathRewrite makes another path of a request's.
type PathRewrite struct {
	// Path is a regular expression (RE2) that is looked for in the path as the client
	// sent it, still encoded; the query is not part of it.
	Path string `yaml:"path"`
	// To takes the place of each match: $1 or ${name} is what a group of Path found, $$ a
	// dollar sign.
	To string `yaml:"to"`
}

// Redirect sends the client elsewhere.
type Redirect struct {
	// Code is 301, 302 (the default), 303, 307 or 308.
	Code int `yaml:"code"`
	// To is an absolute URL, or a path, with the variables $path, $host, $query and $scheme.
	// The request's query goes along when $path does and To has none.
	To string `yaml:"to"`
}

// Respond is an answer that is always the same.
type Respond struct {
	// Status is from 200, the default, to 599.
	Status int `yaml:"status"`
	// Body is what is sent. BodyFile reads it from a file instead.
	Body     string  `yaml:"body"`
	BodyFile Content `yaml:"body_file"`
	// ContentType is that of the body. Default: by the file's name, else plain text.
	ContentType string `yaml:"content_type"`
	// Headers are more fields. There are no variables in them.
	Headers map[string]string `yaml:"headers"`
}

// HeaderEdits change the fields of a head: first Remove, then Set, then Add. The
// values are Templates with HeaderVariables.
type HeaderEdits struct {
	// Set are fields that replace all of their name. $client_ip, $host and $scheme stand for
	// the client's in their values.
	Set map[string]string `yaml:"set"`
	// Add are fields that go beside those of their name.
	Add map[string]string `yaml:"add"`
	// Remove are names of fields that are taken out.
	Remove []string `yaml:"remove"`
}

// Empty says that nothing is changed.
func (h *HeaderEdits) Empty() bool { return len(h.Set)+len(h.Add)+len(h.Remove) == 0 }

// Override holds the settings of a Policy that a route has of its own; nil: the
// service's.
type Override struct {
	// ConnectTimeout, Timeout, IdleTimeout and TotalTimeout go before the service's.
	ConnectTimeout *time.Duration `yaml:"connect_timeout"`
	Timeout        *time.Duration `yaml:"timeout"`
	IdleTimeout    *time.Duration `yaml:"idle_timeout"`
	TotalTimeout   *time.Duration `yaml:"total_timeout"`
	// Retry are the settings of retries that go before the service's.
	Retry RetryOverride `yaml:"retry"`
}

// RetryOverride holds the settings of a Retry; nil: the service's.
type RetryOverride struct {
	// Attempts, On, RetriableStatus, GRPCStatus and PerTryTimeout go before the service's.
	Attempts        *int           `yaml:"attempts"`
	On              *[]string      `yaml:"on"`
	RetriableStatus *[]int         `yaml:"retriable_status"`
	GRPCStatus      *[]string      `yaml:"grpc_status"`
	PerTryTimeout   *time.Duration `yaml:"per_try_timeout"`
}

// Over returns p with what o holds in its place.
func (o *Override) Over(p Policy) Policy {
	replace(&p.ConnectTimeout, o.ConnectTimeout)
	replace(&p.Timeout, o.Timeout)
	replace(&p.IdleTimeout, o.IdleTimeout)
	replace(&p.TotalTimeout, o.TotalTimeout)
	replace(&p.Retry.Attempts, o.Retry.Attempts)
	replace(&p.Retry.On, o.Retry.On)
	replace(&p.Retry.RetriableStatus, o.Retry.RetriableStatus)
	replace(&p.Retry.GRPCStatus, o.Retry.GRPCStatus)
	replace(&p.Retry.PerTryTimeout, o.Retry.PerTryTimeout)
	return p
}

func replace[T any](value, with *T) {
	if with != nil {
		*value = *with
	}
}

// Content is a file that was read with the configuration.
type Content struct {
	// Path names the file.
	Path string
	// Data is what it held, at most 1 MiB.
	Data string
}

// Type returns the media type that the file's name stands for, plain text if it tells
// none. It does not depend on the machine.
func (c *Content) Type() string {
	if t, ok := mediaTypes[strings.ToLower(filepath.Ext(c.Path))]; ok {
		return t
	}
	return "text/plain; charset=utf-8"
}

var mediaTypes = map[string]string{
	".htm":  "text/html; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".json": "application/json",
	".xml":  "application/xml",
	".svg":  "image/svg+xml",
	".png":  "image/png",
	".jpg":  "image/jpeg",
	".gif":  "image/gif",
	".ico":  "image/x-icon",
}

// ErrorReasons returns the words for why usher answers a request itself, as the keys
// of ErrorPages take them. They are those of the X-Usher-Reason field.
func ErrorReasons() []string {
	return []string{
		"no_route", "no_healthy_endpoint", "connect_failed", "connect_timeout", "upstream_timeout",
		"upstream_reset", "upstream_protocol", "mesh_denied", "total_timeout", "retry_budget", "loop", "access_denied",
		"unauthorized",
		"overloaded", "bad_request", "method_not_allowed", "expectation_failed", "head_too_large", "body_too_large",
		"coding_not_served", "version_not_served", "request_timeout", "internal_error",
	}
}
