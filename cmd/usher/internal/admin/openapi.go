package admin

import (
	"net/http"
	"strings"
	"sync"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/openapi"
)

// documentEndpoint is the description of the endpoints, itself included.
func documentEndpoint(list []endpoint) endpoint {
	e := endpoint{
		method: http.MethodGet, path: "/openapi.json", summary: "This description, as OpenAPI 3.1",
		answer: map[string]any{},
	}
	document := sync.OnceValues(func() ([]byte, error) { return describe(append(list[:len(list):len(list)], e)) })
	e.serve = func(w http.ResponseWriter, _ *http.Request) {
		text, err := document()
		if err != nil {
			fail(w, http.StatusInternalServerError, err.Error())
			return
		}
		w.Header().Set("Content-Type", jsonType)
		_, _ = w.Write(text) // the client is gone if this fails
	}
	return e
}

// describe makes the document of the endpoints.
func describe(list []endpoint) ([]byte, error) {
	operations := make([]openapi.Operation, 0, len(list)+3)
	for i := range list {
		operations = append(operations, list[i].operation())
	}
	for path, summary := range map[string]string{
		"/livez":   "Whether usher runs",
		"/readyz":  "Whether usher is ready; 503 with the reason where it is not",
		"/metrics": "The metrics, as Prometheus reads them",
	} {
		operations = append(operations, openapi.Operation{
			Method: http.MethodGet, Path: path, Summary: summary, Kind: "text/plain", Answer: "",
			Open: path != "/metrics",
		})
	}
	return openapi.Document(openapi.Info{
		Title: "usher's admin API", Version: "v1",
		Description: "What an operator asks of one usher, and what clients may discover services by. " +
			"Names are added to, not changed.",
		Failure: api.Error{},
	}, operations, api.Sources())
}

// operation is the endpoint as the document has it.
func (e *endpoint) operation() openapi.Operation {
	o := openapi.Operation{
		Method: e.method, Path: e.fullPath(), Summary: e.summary, Kind: e.kind, Body: e.body, Answer: e.answer,
		Others: e.others,
	}
	for _, p := range e.params {
		o.Params = append(o.Params, openapi.Param{
			Name: p.name, Description: p.what, InPath: strings.Contains(e.path, "{"+p.name+"}"),
		})
	}
	return o
}
