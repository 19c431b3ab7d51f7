package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/events"
)

// Explain implements Explainer: it says what it was asked.
func (h *house) Explain(q api.Question) (api.Explanation, error) {
	if q.URL == "ftp://a/" {
		return api.Explanation{}, fmt.Errorf("no listener speaks ftp")
	}
	return api.Explanation{Question: q, Outcome: "refused", Tried: []api.Tried{}}, nil
}

// The question is read from the query, and what cannot be asked is a 400 that says why.
func TestExplain(t *testing.T) {
	t.Parallel()
	s := newHouse().start(t, "127.0.0.1:0", &events.Log{})
	const path = "/api/v1/explain"
	resp, body := ask(t, s, http.MethodGet,
		path+"?url=http://a/x%3Fy=1&method=PUT&header=X-A:+1&header=X-A:2&header=B:&listener=web&client=192.0.2.1")
	var got api.Explanation
	if err := json.Unmarshal([]byte(body), &got); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %v", resp.Status, err)
	}
	q := got.Question
	if q.URL != "http://a/x?y=1" || q.Method != "PUT" || q.Listener != "web" || q.Client != "192.0.2.1" ||
		fmt.Sprint(q.Headers) != "map[B:[] X-A:[1 2]]" {
		t.Errorf("%+v", q)
	}
	for query, want := range map[string]string{
		"":                            "url is missing: what is to be explained",
		"?url=http://a/&header=wrong": `header "wrong" is not Name: value`,
		"?url=ftp://a/":               "no listener speaks ftp",
	} {
		resp, body := ask(t, s, http.MethodGet, path+query)
		var why api.Error
		if err := json.Unmarshal([]byte(body), &why); err != nil || resp.StatusCode != http.StatusBadRequest ||
			why.Error != want {
			t.Errorf("%s: %s %s", query, resp.Status, body)
		}
	}
}
