package api

import "embed"

//go:embed *.go
var sources embed.FS

// Sources are the files of this package: their comments are what the OpenAPI document says
// of the types.
func Sources() embed.FS { return sources }
