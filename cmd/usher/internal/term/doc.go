// Package term prints for operators: tables that fit the terminal, colours where there is
// a terminal, and a live screen. What is printed comes from registries and files that
// others write, so that no control character of theirs ever reaches the terminal.
//
// A Printer and a Screen belong to one goroutine.
package term
