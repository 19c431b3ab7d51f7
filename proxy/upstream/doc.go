// Package upstream keeps the connections to the endpoints.
//
// [Pools] holds one [Pool] an endpoint, carried from table to table. A Pool hands
// out a [Conn], the one used last first, after it has looked whether the peer has
// closed it or said something unasked: a connection with bytes waiting is never
// used again, so that no client is given what was meant for another. An idle
// connection holds no buffer.
//
// An endpoint that is spoken to in two ways, plain and by TLS or under two names, has
// a pool for each: a connection made under one set of rules serves no other.
//
// A pool may be bounded. Whoever finds all its connections in use is told so (Full)
// and may wait in its queue, first come first served: [Pool.Queue].
//
// Goroutines: a Conn belongs to the goroutine that got it until it is put back or
// closed. Pools runs one goroutine that closes connections idle for too long.
package upstream
