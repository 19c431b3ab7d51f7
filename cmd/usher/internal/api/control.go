package api

// Version is which usher it is.
type Version struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Draining says whether usher drains: it is unready, and each response ends its connection.
type Draining struct {
	Draining bool `json:"draining"`
}
