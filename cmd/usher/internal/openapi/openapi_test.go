package openapi

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

type common struct {
	// Name is who it is.
	Name string `json:"name"`
}

type thing struct {
	common
	At     time.Time         `json:"at"`
	Inner  *thing            `json:"inner,omitempty"`
	Labels map[string]uint64 `json:"labels"`
	List   []float64         `json:"list"`
	Any    any               `json:"any"`
	On     bool              `json:"on"`
	Small  int8              `json:"small,omitempty"`
	Hidden string            `json:"-"`
}

const source = `package x
// common is
// what all have.
type common struct {
	// Name is who it is.
	Name string
}
type thing struct {
	common
	At, Until time.Time // when
}
func f() {}
const c = 1
`

func describeType(t *testing.T, v any) map[string]any {
	t.Helper()
	c, err := readComments(fstest.MapFS{"x.go": {Data: []byte(source)}})
	if err != nil {
		t.Fatal(err)
	}
	s := &schemas{comments: c, done: object{}}
	s.of(reflect.TypeOf(v))
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.done
}

func TestSchema(t *testing.T) {
	got, err := json.Marshal(describeType(t, []thing{}))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"thing":{"description":"","properties":{` +
		`"any":{},"at":{"description":"when","format":"date-time","type":"string"},` +
		`"inner":{"$ref":"#/components/schemas/thing"},` +
		`"labels":{"additionalProperties":{"minimum":0,"type":"integer"},"type":"object"},` +
		`"list":{"items":{"type":"number"},"type":"array"},` +
		`"name":{"description":"Name is who it is.","type":"string"},"on":{"type":"boolean"},` +
		`"small":{"type":"integer"}},"required":["name","at","labels","list","any","on"],"type":"object"}}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if d := describeType(t, common{})["common"].(object)["description"]; d != "common is what all have." {
		t.Errorf("common is described by %q", d)
	}
}

// What cannot be described is an error, not a document that lies.
func TestDocumentErrors(t *testing.T) {
	files := fstest.MapFS{"x.go": {Data: []byte(source)}}
	for name, v := range map[string]any{"a channel": make(chan int), "a nameless struct": struct{ A int }{}} {
		_, err := Document(Info{}, []Operation{{Method: "GET", Path: "/a", Answer: v}}, files)
		if err == nil {
			t.Errorf("%s was described", name)
		}
	}
	if _, err := Document(Info{}, nil, fstest.MapFS{"x.go": {Data: []byte("no Go")}}); err == nil {
		t.Error("what is no Go was read")
	}
}

func TestOperationID(t *testing.T) {
	for want, o := range map[string]Operation{
		"getServicesName":  {Method: "GET", Path: "/api/v1/services/{name}"},
		"getHttpSd":        {Method: "GET", Path: "/api/v1/http_sd"},
		"getOpenapiJson":   {Method: "GET", Path: "/api/v1/openapi.json"},
		"postHoldsRelease": {Method: "POST", Path: "/api/v1/holds/release"},
		"getLivez":         {Method: "GET", Path: "/livez"},
	} {
		if got := o.id(); got != want || strings.Contains(got, "/") {
			t.Errorf("%s: %s", o.Path, got)
		}
	}
}
