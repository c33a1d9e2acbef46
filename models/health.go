package models

import (
	"time"

	"github.com/google/uuid"
)

// HealthKept is how long what webhooks answered is kept.
const HealthKept = 30 * 24 * time.Hour

// A WebhookProbe is a bound webhook that is asked how it is, again and again.
type WebhookProbe struct {
	AccountID uuid.UUID `gorm:"primaryKey"`
	BindingID uuid.UUID `gorm:"primaryKey"`
	DueAt     time.Time
	LeaseID   *uuid.UUID // of the replica that is asking
}

// A HealthSample is how a bound webhook took one signed health call, with its
// repetitions. It holds nothing that the webhook said but a status.
type HealthSample struct {
	AccountID uuid.UUID `gorm:"primaryKey"`
	At        time.Time `gorm:"primaryKey"`
	BindingID uuid.UUID `gorm:"primaryKey"`
	OK        bool
	Status    int    // of the answer; 0: none
	LatencyMS int64  `gorm:"column:latency_ms"`
	Code      string // a fault code; empty if OK
}

// TableName is the table's.
func (HealthSample) TableName() string { return "webhook_health" }

// HealthCounts are the samples of one step of time, in which there were some.
type HealthCounts struct {
	Bucket   int64 // 0 is the one that begins at the series' beginning
	Checks   int64
	Failures int64
	MeanMS   *float64 // of those that succeeded; nil: none did
	WorstMS  *int64
}
