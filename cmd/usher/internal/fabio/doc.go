// Package fabio turns an installation of Fabio into usher's configuration: its
// properties, its route commands and what it finds in Consul.
//
// Its invariant: nothing is dropped in silence. Whatever of the input is not in the
// output as it was is named in a [Note], and the output always loads
// (config.Load, config.LoadCatalog).
//
// Route commands are not translated line by line, since later ones change what
// earlier ones made: they are run as Fabio runs them, on what the services announce,
// and the table that results is what gets written. How usher reads an announcement is
// asked of usher's own routing table, so this package never knows better.
//
// Everything is done on the caller's goroutine. Only [ReadAgent] waits for anybody.
package fabio
