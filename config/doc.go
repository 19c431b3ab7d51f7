// Package config turns bytes into validated, immutable values: the configuration
// of usher (Load), the catalog of a file registry (LoadCatalog), and the entries of a
// key-value store (DecodeRoute, DecodeService).
//
// A file passes through five stages, each its own file here: YAML is parsed into
// a tree of nodes that know their position and have ${VAR} expanded (parse.go,
// expand.go), included files are merged into that tree (include.go), flags and
// missing sections are put into it (defaults.go), the tree is decoded into the
// structs by their tags (plan.go, decode.go, scalar.go), and the values are
// checked (check*.go).
//
// Two invariants. A configuration is either valid as a whole or it is an error
// that lists every problem, each with the position of the text that caused it:
// never a partial result. And what Load returned is never changed by anyone, so
// it may be read from any goroutine without a lock.
//
// Load and LoadCatalog start no goroutine and read nothing but the files named
// and the environment; DecodeRoute and DecodeService read nothing at all. A
// Watcher, which says when those files changed, runs one goroutine from NewWatcher
// until its context ends or Close; Close waits for it.
package config
