package core

import "usher/config"

// Reason is why usher answered a request itself. The same word stands in the
// X-Usher-Reason field, the metrics and the logs.
type Reason uint8

// The reasons.
const (
	None Reason = iota
	NoRoute
	NoHealthyEndpoint
	ConnectFailed
	ConnectTimeout
	UpstreamTimeout
	UpstreamReset
	UpstreamProtocol
	MeshDenied
	TotalTimeout
	DeadlineExceeded
	RetryBudget
	Loop
	AccessDenied
	Unauthorized
	Overloaded
	BadRequest
	MethodNotAllowed
	ExpectationFailed
	HeadTooLarge
	BodyTooLarge
	CodingNotServed
	VersionNotServed
	RequestTimeout
	ClientGone
	Internal
	reasonCount
)

// answers give each reason its word, its status, and the one of gRPC that a call is told.
// Unavailable says that it is well to try again.
var answers = [reasonCount]struct {
	word   string
	status int
	grpc   config.GRPCStatus
}{
	None:              {"", 0, config.GRPCOK},
	NoRoute:           {"no_route", 404, config.GRPCUnimplemented},
	NoHealthyEndpoint: {"no_healthy_endpoint", 503, config.GRPCUnavailable},
	ConnectFailed:     {"connect_failed", 502, config.GRPCUnavailable},
	ConnectTimeout:    {"connect_timeout", 504, config.GRPCUnavailable},
	UpstreamTimeout:   {"upstream_timeout", 504, config.GRPCDeadlineExceeded},
	UpstreamReset:     {"upstream_reset", 502, config.GRPCUnavailable},
	UpstreamProtocol:  {"upstream_protocol", 502, config.GRPCInternal},
	MeshDenied:        {"mesh_denied", 502, config.GRPCPermissionDenied},
	TotalTimeout:      {"total_timeout", 504, config.GRPCDeadlineExceeded},
	DeadlineExceeded:  {"deadline_exceeded", 504, config.GRPCDeadlineExceeded},
	RetryBudget:       {"retry_budget", 502, config.GRPCUnavailable},
	Loop:              {"loop", 508, config.GRPCInternal},
	AccessDenied:      {"access_denied", 403, config.GRPCPermissionDenied},
	Unauthorized:      {"unauthorized", 401, config.GRPCUnauthenticated},
	Overloaded:        {"overloaded", 503, config.GRPCUnavailable},
	BadRequest:        {"bad_request", 400, config.GRPCInternal},
	MethodNotAllowed:  {"method_not_allowed", 405, config.GRPCUnimplemented},
	ExpectationFailed: {"expectation_failed", 417, config.GRPCInternal},
	HeadTooLarge:      {"head_too_large", 431, config.GRPCResourceExhausted},
	BodyTooLarge:      {"body_too_large", 413, config.GRPCResourceExhausted},
	CodingNotServed:   {"coding_not_served", 501, config.GRPCUnimplemented},
	VersionNotServed:  {"version_not_served", 505, config.GRPCUnimplemented},
	RequestTimeout:    {"request_timeout", 408, config.GRPCDeadlineExceeded},
	ClientGone:        {"client_gone", 499, config.GRPCCancelled},
	Internal:          {"internal_error", 500, config.GRPCInternal},
}

// String returns the reason's word, empty for None.
func (r Reason) String() string { return answers[r].word }

// Status returns the status that a reason is answered with. 499, of a client that
// left, is never sent.
func (r Reason) Status() int { return answers[r].status }

// GRPC returns the status of gRPC that a reason is answered with.
func (r Reason) GRPC() config.GRPCStatus { return answers[r].grpc }

// Reasons returns all words, in the order the metrics index them.
func Reasons() []string {
	words := make([]string, 0, reasonCount-1)
	for _, a := range answers[1:] {
		words = append(words, a.word)
	}
	return words
}

// sampleIndex is the place of r in Reasons, -1 for None.
func (r Reason) sampleIndex() int { return int(r) - 1 }

// RefusalReason returns the reason that a status of wire.Refused stands for.
func RefusalReason(status int) Reason {
	for r, a := range answers {
		if a.status == status && Reason(r) >= BadRequest {
			return Reason(r)
		}
	}
	return BadRequest
}
