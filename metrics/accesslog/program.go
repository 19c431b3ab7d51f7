package accesslog

import (
	"slices"
	"strings"

	"usher/config"
	"usher/config/redact"
)

// program says how entries are written: one step for each piece of a line. It is immutable.
type program struct {
	json  bool
	steps []step
	// all says that it is json with all fields in their order.
	all bool
	// request and response are the fields of the heads that are wanted: of the request's
	// the last two are the ones that have names of their own. reads says that any is.
	request, response fields
	reads             bool
	// statuses are the words of the statuses of gRPC.
	statuses []string
	rules    *redact.Rules
}

// step writes what comes before a value, then the value. In JSON nothing is written of one
// that is absent.
type step struct {
	lead string
	what what
	// at is the place among the header fields of one that has a variable.
	at int
}

// header is a header field that is logged.
type header struct {
	// lead begins it in JSON, name is in lower case.
	lead, name string
	secret     bool
	// target says that the value is one that may have a query.
	target bool
}

// what is a value of an entry.
type what uint8

const (
	nothing what = iota
	timeStart
	timeLocal
	requestID
	traceID
	listener
	clientIP
	peer
	method
	scheme
	host
	target
	protocol
	requestLine
	status
	reason
	grpcStatus
	received
	sent
	took
	upstream
	route
	service
	endpoint
	endpointAddress
	attempts
	retryReasons
	hedged
	generation
	userAgent
	referer
	tlsVersion
	tlsCipher
	tlsName
	tlsIdentity
	requestHeaders
	responseHeaders
	requestHeader
	responseHeader
)

// values are those that a configuration names.
var values = map[string]what{
	"time": timeStart, "request_id": requestID, "trace_id": traceID, "listener": listener, "client_ip": clientIP,
	"peer": peer, "method": method, "scheme": scheme, "host": host, "target": target, "protocol": protocol,
	"status": status, "reason": reason, "grpc_status": grpcStatus, "bytes_received": received, "bytes_sent": sent,
	"duration": took, "upstream_duration": upstream, "route": route, "service": service, "endpoint": endpoint,
	"endpoint_address": endpointAddress, "attempts": attempts, "retry_reasons": retryReasons, "hedged": hedged,
	"generation": generation, "user_agent": userAgent, "referer": referer, "tls_version": tlsVersion,
	"tls_cipher": tlsCipher, "sni": tlsName, "client_identity": tlsIdentity, "request_headers": requestHeaders,
	"response_headers": responseHeaders,
}

// newProgram returns the program of a validated configuration.
func newProgram(c config.AccessLog) *program {
	p := &program{rules: redact.New(c.Redact.Headers, c.Redact.Query), statuses: config.GRPCStatuses()}
	p.request = newFields(p.headers(append(slices.Clone(c.RequestHeaders), "User-Agent", "Referer")))
	p.response = newFields(p.headers(c.ResponseHeaders))
	switch c.Format {
	case config.AccessCombined:
		p.common()
		p.add(` "`, referer)
		p.add(`" "`, userAgent)
		p.add(`"`, nothing)
	case config.AccessCommon:
		p.common()
	case config.AccessTemplate:
		p.template(c)
	default:
		p.object(c)
	}
	p.reads = slices.ContainsFunc(p.steps, func(s step) bool {
		return slices.Contains([]what{userAgent, referer, requestHeaders, requestHeader}, s.what)
	})
	return p
}

func (p *program) add(lead string, w what) { p.steps = append(p.steps, step{lead: lead, what: w}) }

// common is the line of the Common Log Format, as servers agree on it.
func (p *program) common() {
	p.add("", clientIP)
	p.add(" - - [", timeLocal)
	p.add(`] "`, requestLine)
	p.add(`" `, status)
	p.add(" ", sent)
}

func (p *program) object(c config.AccessLog) {
	p.json = true
	fields := c.Fields
	if p.all = len(fields) == 0; p.all {
		fields = config.AccessLogFields()
	}
	for _, name := range fields {
		lead := `,"` + name + `":`
		if isText(values[name]) {
			lead += `"`
		}
		p.add(lead, values[name])
	}
}

// isText says whether a value is a string in JSON, whose first quote is its lead's.
func isText(w what) bool {
	switch w {
	case status, received, sent, took, upstream, attempts, retryReasons, hedged, generation, requestHeaders,
		responseHeaders:
		return false
	default:
		return true
	}
}

func (p *program) template(c config.AccessLog) {
	parts, _ := config.ParseAccessTemplate(c) // it is checked
	lead := ""
	for _, part := range parts {
		if part.Variable == "" {
			lead += part.Text
			continue
		}
		s := step{lead: lead, what: values[part.Variable]}
		if s.what == nothing {
			s.what, s.at = p.headerOf(part.Variable)
		}
		p.steps = append(p.steps, s)
		lead = ""
	}
	p.add(lead, nothing)
}

// headerOf finds the header field that a variable stands for.
func (p *program) headerOf(variable string) (what, int) {
	find := func(list []header, prefix string) int {
		return slices.IndexFunc(list, func(h header) bool {
			return prefix+strings.ReplaceAll(h.name, "-", "_") == variable
		})
	}
	if i := find(p.request.list, "request_header_"); i >= 0 {
		return requestHeader, i
	}
	return responseHeader, find(p.response.list, "response_header_")
}

// headers are those of the given names.
func (p *program) headers(names []string) []header {
	out := make([]header, len(names))
	for i, name := range names {
		name = strings.ToLower(name)
		out[i] = header{
			lead: `,"` + string(appendJSON(nil, []byte(name))) + `":"`, name: name, secret: p.rules.Secret(name),
			target: name == "referer" || name == "location" || name == "content-location",
		}
	}
	return out
}
