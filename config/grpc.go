package config

import (
	"slices"
	"strings"
)

// GRPCStatus is a status code of gRPC: how a call ended.
type GRPCStatus uint8

// The status codes.
const (
	GRPCOK GRPCStatus = iota
	GRPCCancelled
	GRPCUnknown
	GRPCInvalidArgument
	GRPCDeadlineExceeded
	GRPCNotFound
	GRPCAlreadyExists
	GRPCPermissionDenied
	GRPCResourceExhausted
	GRPCFailedPrecondition
	GRPCAborted
	GRPCOutOfRange
	GRPCUnimplemented
	GRPCInternal
	GRPCUnavailable
	GRPCDataLoss
	GRPCUnauthenticated
	grpcStatuses
)

// GRPCStatuses are the words of the status codes, in their order: gRPC's names in lower
// case. Configuration and metrics use the same.
func GRPCStatuses() []string {
	return []string{
		"ok", "cancelled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
		"permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented",
		"internal", "unavailable", "data_loss", "unauthenticated",
	}
}

// String returns the word of the code; a number that is none is unknown.
func (s GRPCStatus) String() string {
	if s >= grpcStatuses {
		s = GRPCUnknown
	}
	return GRPCStatuses()[s]
}

// GRPCMatch is the condition of a route that takes calls of gRPC.
type GRPCMatch struct {
	// Service is the full name of the service, as in pkg.Service. Empty: any.
	Service string `yaml:"service"`
	// Method is the name of one of its methods. Empty: all of them.
	Method string `yaml:"method"`
}

// path is what the condition says of the path, and how that is matched.
func (g *GRPCMatch) path() (path, pathType string) {
	switch {
	case g.Service == "":
		return "/", "prefix"
	case g.Method == "":
		return "/" + g.Service + "/", "prefix"
	default:
		return "/" + g.Service + "/" + g.Method, "exact"
	}
}

// grpc checks a condition on gRPC, which stands for one on path and method.
func (c *checker) grpc(g *GRPCMatch, at string) {
	for _, key := range []string{"path", "path_type", "methods"} {
		if path := child(at, key); c.where.given(path) {
			c.bad(path, "grpc and %s: a call of gRPC is a POST to /service/method", key)
		}
	}
	at = child(at, "grpc")
	switch {
	case g.Service != "":
		c.protoName(child(at, "service"), "service", g.Service, true)
	case g.Method != "":
		c.bad(child(at, "method"), "method without a service")
	}
	if g.Method != "" {
		c.protoName(child(at, "method"), "method", g.Method, false)
	}
}

// protoName wants a name as the definitions of gRPC have them: an identifier, or several
// with dots between.
func (c *checker) protoName(path, key, name string, dots bool) {
	parts := []string{name}
	if dots {
		parts = strings.Split(name, ".")
	}
	if slices.ContainsFunc(parts, func(s string) bool { return !isIdentifier(s) }) {
		c.bad(path, "%s %q is not the name of a %s of gRPC", key, shorten(name), key)
	}
}

func isIdentifier(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case '0' <= c && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}

// CausesGRPC says whether a status is one of those that a call is retried for.
func (r *Retry) CausesGRPC(s GRPCStatus) bool {
	return len(r.GRPCStatus) > 0 && slices.Contains(r.GRPCStatus, s.String())
}

// grpcStatuses checks the statuses that a Retry names.
func (c *checker) grpcStatuses(r Retry, at string) {
	path := child(at, "grpc_status")
	if !c.where.given(path) || c.failed[path] {
		return
	}
	for i, word := range r.GRPCStatus {
		c.word(index(path, i), "status of gRPC", word, GRPCStatuses()[1:]...)
	}
}
