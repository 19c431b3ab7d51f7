package upstream

import "time"

// Source gives connections to an endpoint: a Pool, or a Teller. Its methods are those of
// Pool.
type Source interface {
	Get(fresh bool, timeout time.Duration) (*Conn, *Error)
	Queue() (*Pending, *Error)
}

// Teller gives connections that begin with a preface, which tells the endpoint whom they
// are for. Each is a new one, and closes after use: it would tell the next client's
// requests under the name of another.
type Teller struct {
	Pool *Pool
	// Preface is not changed by anybody.
	Preface []byte
}

// Get returns a new connection; fresh or not makes no difference.
func (t *Teller) Get(_ bool, timeout time.Duration) (*Conn, *Error) {
	return t.Pool.get(true, t.Preface, timeout)
}

// Queue takes a place in the queue of the pool.
func (t *Teller) Queue() (*Pending, *Error) {
	w, err := t.Pool.Queue()
	if w != nil {
		w.preface = t.Preface
	}
	return w, err
}
