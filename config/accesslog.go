package config

import (
	"slices"
	"strings"
	"time"
)

// AccessLog says whether and how finished requests are logged.
type AccessLog struct {
	// Output is a file, stdout, stderr, or a syslog URL: syslog+udp://host:514,
	// syslog+tcp://host:514 or syslog+unix:///dev/log. Empty: there is no access log.
	Output string `yaml:"output"`
	// Format is json, combined or common (as Apache and nginx write them), or template.
	Format string `yaml:"format"`
	// Template is the line of format template. Its variables are the fields, with a dollar
	// sign in front.
	Template string `yaml:"template"`
	// Fields are those of format json, in their order. Empty: all there are.
	Fields []string `yaml:"fields"`
	// Sample is the part of the requests that is logged, from 0 to 1. Those that failed or
	// were slow always are.
	Sample float64 `yaml:"sample"`
	// Slow is how long a request takes that is always logged. 0: none is for its time.
	Slow time.Duration `yaml:"slow"`
	// RequestHeaders and ResponseHeaders are fields of the heads that are logged too.
	RequestHeaders  []string `yaml:"request_headers"`
	ResponseHeaders []string `yaml:"response_headers"`
	// Redact is what is never logged, beside what never is.
	Redact Redact `yaml:"redact"`
	// BufferSize bounds what waits for an output that does not take it; beyond it entries
	// are dropped.
	BufferSize Size `yaml:"buffer_size"`
	// FlushInterval is how long an entry waits for more of them, at most.
	FlushInterval time.Duration `yaml:"flush_interval"`
}

// Redact names more of what holds secrets.
type Redact struct {
	// Headers are names of header fields, Query names of parameters in a target.
	Headers []string `yaml:"headers"`
	Query   []string `yaml:"query"`
}

// The formats of an access log.
const (
	AccessJSON     = "json"
	AccessCombined = "combined"
	AccessCommon   = "common"
	AccessTemplate = "template"
)

// Debug says whose requests are told how they were routed.
type Debug struct {
	// From are the clients (CIDR, or one address) whose requests with X-Usher-Debug: 1 are
	// answered with it. Empty: nobody's.
	From []string `yaml:"from"`
}

func defaultAccessLog() AccessLog {
	return AccessLog{
		Format: AccessJSON, Sample: 1, Slow: time.Second,
		BufferSize: 4 << 20, FlushInterval: time.Second,
	}
}

// AccessLogFields are the fields of an access log, in the order of format json. They are
// the variables of a template too.
func AccessLogFields() []string {
	return []string{
		"time", "request_id", "trace_id", "listener", "client_ip", "peer", "method", "scheme", "host", "target",
		"protocol", "status", "reason", "grpc_status", "bytes_received", "bytes_sent", "duration",
		"upstream_duration", "route", "service", "endpoint", "endpoint_address", "attempts", "retry_reasons",
		"hedged", "generation", "user_agent", "referer", "tls_version", "tls_cipher", "sni", "client_identity",
		"request_headers", "response_headers",
	}
}

// AccessLogVariables are what a template may name: the fields, and each header field that
// is logged, as request_header_x_name or response_header_x_name.
func AccessLogVariables(a AccessLog) []string {
	names := slices.DeleteFunc(AccessLogFields(), func(f string) bool { return strings.HasSuffix(f, "_headers") })
	for _, h := range a.RequestHeaders {
		names = append(names, headerVariable("request_header_", h))
	}
	for _, h := range a.ResponseHeaders {
		names = append(names, headerVariable("response_header_", h))
	}
	return names
}

// headerVariable is the variable of a header field.
func headerVariable(prefix, name string) string {
	return prefix + strings.ReplaceAll(strings.ToLower(name), "-", "_")
}

// ParseAccessTemplate takes the line of an access log apart.
func ParseAccessTemplate(a AccessLog) (Template, error) {
	return parseTemplate(a.Template, AccessLogVariables(a), func(c byte) bool {
		return inVariable(c) || '0' <= c && c <= '9'
	})
}

// completeAccessLog takes a template for the wish to use it, and a file's path from where
// it stands.
func completeAccessLog(a *AccessLog, where positions) {
	if a.Template != "" && !where.given("access_log.format") {
		a.Format = AccessTemplate
	}
	if a.File() {
		a.Output = besides(where.of("access_log.output"), a.Output)
	}
}

// File says whether the output is a file.
func (a AccessLog) File() bool {
	return a.Output != "" && a.Output != "stdout" && a.Output != "stderr" && !a.Syslog()
}

// Syslog says whether the output is a receiver of syslog.
func (a AccessLog) Syslog() bool {
	return strings.HasPrefix(a.Output, "syslog") && strings.Contains(a.Output, ":")
}
