package accesslog

import (
	"time"

	"usher/metrics"
)

// Entry is one finished request, or connection that was carried as a whole. What it points
// to need be valid only during Add. Zero and empty stand for what there is not.
type Entry struct {
	// Start is when it began, on the clock of the Log.
	Start int64
	Shard metrics.Shard

	Listener string
	// Client is whom the request is from, as far as it is known behind trusted proxies;
	// Peer, an address in text, and PeerPort are the other end of the connection.
	Client, Peer []byte
	PeerPort     int

	Method, Target, Host []byte
	Scheme, Protocol     string
	// Head is the request's head as text, as the client sent it; Response has lines of the
	// response's head, those that WantsResponse asks for at least.
	Head, Response []byte
	RequestID      []byte

	// Status is what was sent, or stands for what became of the request. Reason is why usher
	// answered, or ended it, itself; Failed says that it is a failure.
	Status int
	Reason string
	Failed bool
	// GRPC is how a call of gRPC ended, as metrics count it.
	GRPC metrics.Call

	// Received and Sent are the bytes of bodies, from the client and to it.
	Received, Sent uint64
	// Duration is the time from Start to the end, Upstream what of it was spent waiting for
	// endpoints.
	Duration, Upstream time.Duration

	Route, Service, Endpoint, Address string
	// Attempts counts the tries, Retries has what those after the first were for: a bit for
	// each metrics.RetryCause. Hedged says that two tries ran side by side.
	Attempts   int
	Retries    uint8
	Hedged     bool
	Generation uint64

	// TLS is how the client came; nil: without.
	TLS *TLS
	// Trace is the ID of the trace that was recorded; zero: none was.
	Trace [16]byte
}

// TLS is what is told of a client's TLS.
type TLS struct {
	Version, Cipher string
	// Name is what the client asked for by SNI, Identity who it is by its certificate.
	Name, Identity string
}
