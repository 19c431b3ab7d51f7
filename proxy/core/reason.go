package core

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

// answers give each reason its word and its status.
var answers = [reasonCount]struct {
	word   string
	status int
}{
	None:              {"", 0},
	NoRoute:           {"no_route", 404},
	NoHealthyEndpoint: {"no_healthy_endpoint", 503},
	ConnectFailed:     {"connect_failed", 502},
	ConnectTimeout:    {"connect_timeout", 504},
	UpstreamTimeout:   {"upstream_timeout", 504},
	UpstreamReset:     {"upstream_reset", 502},
	UpstreamProtocol:  {"upstream_protocol", 502},
	MeshDenied:        {"mesh_denied", 502},
	TotalTimeout:      {"total_timeout", 504},
	RetryBudget:       {"retry_budget", 502},
	Loop:              {"loop", 508},
	AccessDenied:      {"access_denied", 403},
	Unauthorized:      {"unauthorized", 401},
	Overloaded:        {"overloaded", 503},
	BadRequest:        {"bad_request", 400},
	MethodNotAllowed:  {"method_not_allowed", 405},
	ExpectationFailed: {"expectation_failed", 417},
	HeadTooLarge:      {"head_too_large", 431},
	BodyTooLarge:      {"body_too_large", 413},
	CodingNotServed:   {"coding_not_served", 501},
	VersionNotServed:  {"version_not_served", 505},
	RequestTimeout:    {"request_timeout", 408},
	ClientGone:        {"client_gone", 499},
	Internal:          {"internal_error", 500},
}

// String returns the reason's word, empty for None.
func (r Reason) String() string { return answers[r].word }

// Status returns the status that a reason is answered with. 499, of a client that
// left, is never sent.
func (r Reason) Status() int { return answers[r].status }

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
