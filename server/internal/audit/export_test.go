package audit

// Clip is clip, for its fuzz test.
var Clip = clip

// The limits, for tests.
const (
	MaxPending      = maxPending
	MaxDetail       = maxDetail
	CheckpointEvery = checkpointEvery
	WriteTimeout    = writeTimeout
)
