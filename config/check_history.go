package config

// The most that usher remembers for its operators: it is kept in memory.
const (
	maxGenerations = 10_000
	maxRequests    = 1 << 16
)

func (c *checker) history(h History) {
	c.upTo("history.generations", "generations", h.Generations, maxGenerations)
	c.upTo("history.requests", "requests", h.Requests, maxRequests)
}

// upTo refuses numbers that are negative or above the most.
func (c *checker) upTo(path, key string, n, most int) {
	if n < 0 || n > most {
		c.bad(path, "%s must be from 0 to %d, found %d", key, most, n)
	}
}
