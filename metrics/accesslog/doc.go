// Package accesslog writes a line for each request that has ended, and for each connection
// that was carried as a whole.
//
// A request never waits for it. Its goroutine encodes the entry into one of a few buffers
// in memory, under a lock that nobody holds for longer than that takes; where all memory
// the log may have is waiting to be written the entry is dropped, and counted. One goroutine
// writes whole buffers to the output and is the only one that may wait for it.
//
// No entry can be more than one line, or hold what ends or changes a line, whatever clients
// send; and what credentials they send is not in it.
package accesslog
