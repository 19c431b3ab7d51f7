package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/events"
)

const (
	// heartbeat is how often a stream without events says that it lives.
	heartbeat = 15 * time.Second
	// writeTime bounds the wait for a reader: one that does not read is let go.
	writeTime = 10 * time.Second
	// streamType is the media type of server-sent events.
	streamType = "text/event-stream"
)

// serveEvents answers with the events after ?since=, or Last-Event-ID: as a list, or as a
// stream that goes on with those to come.
func serveEvents(log *events.Log, w http.ResponseWriter, r *http.Request) {
	since, err := lastSeen(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	if !wantsStream(r.Header.Values("Accept")) {
		answer(w, log.Since(since))
		return
	}
	streamEvents(log, since, w, r)
}

// lastSeen is the number of the last event that a client has; what a reconnecting browser
// says goes before what stands in the URL, which is as old as the page.
func lastSeen(r *http.Request) (uint64, error) {
	name, text := "Last-Event-ID", r.Header.Get("Last-Event-ID")
	if text == "" {
		name, text = "since", r.URL.Query().Get("since")
	}
	if text == "" {
		return 0, nil
	}
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s=%q is not the number of an event", name, text)
	}
	return id, nil
}

// wantsStream says whether a client names the stream's type.
func wantsStream(fields []string) bool {
	for _, part := range strings.Split(strings.Join(fields, ","), ",") {
		if media, _, err := mime.ParseMediaType(part); err == nil && media == streamType {
			return true
		}
	}
	return false
}

// streamEvents sends events as they come until the client leaves or usher stops. They are
// read from the log's memory: a reader may be slow, until that has forgotten what it missed.
func streamEvents(log *events.Log, since uint64, w http.ResponseWriter, r *http.Request) {
	past, coming, stop := log.Subscribe(since)
	defer stop()
	w.Header().Set("Content-Type", streamType)
	s := &eventStream{control: http.NewResponseController(w), w: w, last: since}
	if s.send([]byte("retry: 2000\n\n")) != nil || s.all(past) != nil {
		return
	}
	alive := time.NewTicker(heartbeat)
	defer alive.Stop()
	for {
		var err error
		select {
		case <-coming:
			for len(coming) > 0 { // it only says that there is something
				<-coming
			}
			err = s.all(log.Since(s.last))
		case <-alive.C:
			err = s.send([]byte(": alive\n\n"))
		case <-r.Context().Done():
			return
		case <-closing(r.Context()):
			return
		}
		if err != nil {
			return
		}
	}
}

// eventStream is one reader.
type eventStream struct {
	control *http.ResponseController
	w       http.ResponseWriter
	// last is the number of the last event that the reader has; 0: none.
	last uint64
}

// all sends events, in one piece.
func (s *eventStream) all(list []api.Event) error {
	if len(list) == 0 {
		return nil
	}
	var b bytes.Buffer
	for i := range list {
		data, err := json.Marshal(&list[i])
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "id: %d\ndata: %s\n\n", list[i].ID, data)
	}
	s.last = list[len(list)-1].ID
	return s.send(b.Bytes())
}

func (s *eventStream) send(data []byte) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	if _, err := s.w.Write(data); err != nil {
		return err
	}
	if err := s.control.Flush(); err != nil {
		return err
	}
	return s.control.SetWriteDeadline(time.Time{})
}
