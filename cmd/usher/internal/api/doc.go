// Package api is what the admin API says, as Go values: the server fills them, the
// commands and the tests read them, and the OpenAPI document describes them. The JSON
// names are a contract: they are added to, not changed.
package api

// Error is the answer to what cannot be done.
type Error struct {
	Error string `json:"error"`
}

// Released is how many held instances were let go.
type Released struct {
	Released int `json:"released"`
}
