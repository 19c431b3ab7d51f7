// Package openapi describes an HTTP API as a document of OpenAPI 3.1: the operations as they
// are given, the types by reflection, and what fields mean by the comments of their source.
// It does what usher's types need, and fails on what it does not know.
package openapi

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

// Info is about the API as a whole.
type Info struct {
	Title, Version, Description string
	// Failure is a zero value of what an operation answers that fails.
	Failure any
}

// Operation is one method of one path.
type Operation struct {
	Method, Path, Summary string
	Params                []Param
	// Kind is the media type of the answer; empty: JSON.
	Kind string
	// Body and Answer are zero values of what is sent and answered; nil: nothing is.
	Body, Answer any
	// Others are the answers of other statuses than 200, which are no failures; nil: that
	// has no body.
	Others map[int]any
	// Open says that it needs no token.
	Open bool
}

// Param is a parameter, in the path or in the query.
type Param struct {
	Name, Description string
	InPath            bool
}

type object = map[string]any

// Document returns the document in JSON. sources are the Go files of the types' package; it
// is an error when they do not parse, or a type cannot be described.
func Document(info Info, operations []Operation, sources fs.FS) ([]byte, error) {
	comments, err := readComments(sources)
	if err != nil {
		return nil, err
	}
	s := &schemas{comments: comments, done: object{}}
	paths := object{}
	for i := range operations {
		o := &operations[i]
		path, ok := paths[o.Path].(object)
		if !ok {
			path = object{}
			paths[o.Path] = path
		}
		path[strings.ToLower(o.Method)] = o.describe(s, info.Failure)
	}
	if s.err != nil {
		return nil, s.err
	}
	return json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info":    object{"title": info.Title, "version": info.Version, "description": info.Description},
		"paths":   paths,
		"components": object{
			"schemas": s.done,
			"securitySchemes": object{"token": object{
				"type": "http", "scheme": "bearer",
				"description": "The token of the configuration, where there is one.",
			}},
		},
		// Both: a token is needed where one is configured.
		"security": []any{object{}, object{"token": []any{}}},
	}, "", " ")
}

func (o *Operation) describe(s *schemas, failure any) object {
	answers := object{
		"200": o.content(s, "OK", o.Answer), "default": o.json(s, "It failed, for the reason given", failure),
	}
	if o.Kind != "" && o.Kind != jsonType && o.Open {
		delete(answers, "default")
		answers["503"] = o.content(s, http.StatusText(http.StatusServiceUnavailable), "")
	}
	for status, answer := range o.Others {
		answers[strconv.Itoa(status)] = o.json(s, http.StatusText(status), answer)
	}
	out := object{"operationId": o.id(), "summary": o.Summary, "responses": answers}
	if o.Open {
		out["security"] = []any{object{}}
	}
	params := make([]any, 0, len(o.Params))
	for _, p := range o.Params {
		at := "query"
		if p.InPath {
			at = "path"
		}
		params = append(params, object{
			"name": p.Name, "in": at, "required": p.InPath, "description": p.Description,
			"schema": object{"type": "string"},
		})
	}
	if len(params) > 0 {
		out["parameters"] = params
	}
	if o.Body != nil {
		out["requestBody"] = object{
			"required": true, "content": object{jsonType: object{"schema": s.of(reflect.TypeOf(o.Body))}},
		}
	}
	return out
}

const jsonType = "application/json"

// content is an answer of the operation's own media type.
func (o *Operation) content(s *schemas, what string, answer any) object {
	if o.Kind == "" {
		return o.json(s, what, answer)
	}
	return object{"description": what, "content": object{o.Kind: object{"schema": object{"type": "string"}}}}
}

func (*Operation) json(s *schemas, what string, answer any) object {
	out := object{"description": what}
	if answer != nil {
		out["content"] = object{jsonType: object{"schema": s.of(reflect.TypeOf(answer))}}
	}
	return out
}

// id names the operation: getServicesName.
func (o *Operation) id() string {
	var b strings.Builder
	b.WriteString(strings.ToLower(o.Method))
	path := strings.TrimPrefix(o.Path, "/api/v1")
	for _, word := range strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune("/{}_.-", r) }) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}
